"""One run: the chain of tasks in one process, without DVC. Its numbers equal those of DVC's stages to the bit."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from structalign.data.tasks import read_tasks
from structalign.learning.chain import learn_task, next_config, save_task
from structalign.learning.joint import joint_galleries, learn_joint
from structalign.learning.loading import load_method
from structalign.learning.settings import settings_of
from structalign.model.checkpoint import read_config, save_checkpoint
from structalign.model.device import prepare_device
from structalign.params.features import FeaturesParams
from structalign.params.ranking import Ranking
from structalign.paths import BACKBONE, CHECKPOINTS, MANIFEST
from structalign.search.encoder import load_encoder
from structalign.store import read_json
from structalign.sweep.over_time import OverTime
from structalign.sweep.rows import SENTENCE, row_of

BY_SENTENCE = Ranking(beta=0, task_prior=0)


def learn_chain(method: str, sections: Mapping[str, Any], folder: Path) -> Iterator[tuple[str, Path]]:
    """Learn the tasks in order. Yields each task with its checkpoint below `folder`, once that is saved."""
    views, trains = FeaturesParams.model_validate(sections["features"]), load_method(method).trains
    previous = CHECKPOINTS / "t00"
    for number, task in enumerate(read_tasks(), start=1):
        settings = settings_of(sections, number)
        categories = read_json(MANIFEST / task / "task.json")["categories"]
        config = next_config(read_config(previous), task, categories, method, settings.seed)
        out = folder / task
        out.mkdir()
        if trains:
            save_task(config, learn_task(config, settings, views, previous, Path(os.devnull), None), previous, out)
        else:
            save_checkpoint(out, config, {}, {})
        yield task, out
        previous = out


def run_chain(method: str, sections: Mapping[str, Any], searched: Sequence[OverTime]) -> list[dict[str, Any]]:
    """Learn the chain, and return the ranks and sizes of each of `searched`."""
    with TemporaryDirectory() as folder:
        for task, checkpoint in learn_chain(method, sections, Path(folder)):
            config = read_config(checkpoint)
            encoder = load_encoder(checkpoint, config, BACKBONE, prepare_device())
            for one in searched:
                one.learn(encoder, task)
    return [one.finish(encoder) | sizes(config.trained_parameters, one) for one in searched]


def run_joint(sections: Mapping[str, Any], searched: OverTime) -> dict[str, Any]:
    """Learn all tasks at once."""
    tasks, views = [*read_tasks()], FeaturesParams.model_validate(sections["features"])
    trainer = learn_joint(tasks, settings_of(sections, 1), views, None)
    encoder, searched.galleries = joint_galleries(trainer, tasks, searched.split)
    for task in tasks:
        searched.observe(encoder, task)
    return searched.finish(encoder) | sizes(trainer.trained_parameters, searched)


def sizes(trained_parameters: int, searched: OverTime) -> dict[str, int]:
    """The number of trained parameters, and the bytes stored per past video."""
    frames = searched.galleries[-1].frames
    return {"trained_parameters": trained_parameters, "stored_bytes_per_video": frames[0].nbytes}


def run(method: str, sections: Mapping[str, Any], split: str, further: Mapping[str, Any]) -> dict[str, Any]:
    """The ranks and sizes of a run, with a row for each ranking: the plain one by `ranking`, and the `further` ones.

    Zero-shot CLIP also gives a row by the sentence only, as published.
    """
    weights = {row_of(method): sections["ranking"]} | {row_of(method, name): own for name, own in further.items()}
    rankings = {row: ("method", Ranking.model_validate(own)) for row, own in weights.items()}
    if method != "joint" and not load_method(method).trains:
        rankings[row_of(method, SENTENCE)] = ("method", BY_SENTENCE)
    searched = OverTime(split, rankings)
    return run_joint(sections, searched) if method == "joint" else run_chain(method, sections, [searched])[0]
