"""The baseline `joint`: `finetune`'s model, trained with L_con on the pairs of all tasks at once, routed as task 1."""

from typing import Any

import torch

from structalign.console import command
from structalign.data.tasks import category_ids, key, read_tasks
from structalign.evaluation.metrics import measure
from structalign.evaluation.retrieval import asked, find
from structalign.learning.joint import joint_galleries, learn_joint
from structalign.learning.settings import read_settings
from structalign.learning.trainer import Trainer
from structalign.model.checkpoint import CheckpointConfig, save_checkpoint
from structalign.model.features import read_captions
from structalign.params.features import FeaturesParams
from structalign.params.optim import Phase
from structalign.params.ranking import Ranking
from structalign.params.reading import read
from structalign.paths import BACKBONE, FEATURES, FRAMES, REPORTS, WORK
from structalign.scratch import scratch
from structalign.search.signal import observe, states
from structalign.store import whole_folder, write_json

JOINT = REPORTS / "joint"


def main() -> None:
    """Write work/joint (a checkpoint) and reports/joint, without forgetting, since there is only one task."""
    tasks, settings = read_tasks(), read_settings(key(1), read("optim.first", Phase))
    inputs = [kind / task / "train" for kind in (FEATURES, FRAMES) for task in tasks]
    views = read("features", FeaturesParams)
    with scratch("joint", "all", [list(tasks), settings, views], [BACKBONE, *inputs]) as progress:
        trainer = learn_joint(list(tasks), settings, views, progress)
        model = trainer.model
        config = CheckpointConfig(
            backbone=settings.backbone.name,
            method="joint",
            seed=settings.seed,
            tasks=["joint"],
            categories=category_ids(tasks),
            model=model.config,
            trained_parameters=trainer.trained_parameters,
        )
        with whole_folder(WORK / "joint") as out:
            save_checkpoint(out, config, model.adapter_state(), {})
        test, val = (rank(trainer, list(tasks), split) for split in ("test", "val"))
    numbers = {**test["t2v"], "v2t_R@1": test["v2t"].get("R@1"), "val_R@1": val["t2v"].get("R@1")}
    sizes = {
        "trained_parameters": trainer.trained_parameters,
        "stored_bytes_per_video": 4 * model.config.frames * model.clip.embedding_dim,
    }
    write_json(JOINT / "metrics.json", numbers | {"sizes": sizes})


@torch.inference_mode()
def rank(trainer: Trainer, tasks: list[str], split: str) -> dict[str, Any]:
    """All metrics of a split. Empty if the split has no queries."""
    encoder, galleries = joint_galleries(trainer, tasks, split)
    question = asked(tasks[-1], split, galleries)
    if not question.queries:
        return {"t2v": {}, "v2t": {}}
    trained = [read_captions(FEATURES / task / "train") for task in tasks]
    observed = [observe(encoder.zero_shot(x.tokens), x.category, number) for number, x in enumerate(trained, start=1)]
    ranking = {"method": ("method", read("ranking", Ranking))}
    _, found = find(encoder, galleries, states(observed), question, ranking)
    return dict(measure(found["method"], "method", question.truth, question.video_tasks, tasks))


if __name__ == "__main__":
    command(main)
