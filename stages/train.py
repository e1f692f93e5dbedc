"""Learn one task: its own training pairs, the checkpoint before, and nothing else."""

import json
import os
from dataclasses import replace
from pathlib import Path

from structalign.console import command
from structalign.data.frame_store import FrameSplit
from structalign.errors import UserError
from structalign.learning.distributed import broadcast, processes
from structalign.learning.init_task import backbone, from_checkpoint
from structalign.learning.loading import load_method
from structalign.learning.settings import Settings, read_settings
from structalign.learning.trainer import Trainer
from structalign.model.backbone import pixel_statistics
from structalign.model.checkpoint import CheckpointConfig, read_config, save_checkpoint
from structalign.model.features import Features
from structalign.model.sources import make_source
from structalign.params.features import FeaturesParams
from structalign.params.optim import Phase
from structalign.params.reading import read
from structalign.paths import BACKBONE, CHECKPOINTS, FEATURES, FRAMES, LOGS, MANIFEST
from structalign.scratch import scratch
from structalign.store import read_json, reading, whole, whole_folder


def main(task: str) -> None:
    """Write checkpoints/<TASK> and work/logs/<TASK>.jsonl; of several processes (LAUNCH) the first one does."""
    with processes() as first:
        (lead if first else follow)(task)


def lead(task: str) -> None:
    """Learn the task and write what comes of it."""
    manifest, out = MANIFEST / task / "task.json", CHECKPOINTS / task
    config, settings, views, previous = plan(task)
    inputs = [BACKBONE, manifest, FEATURES / task / "train", FRAMES / task / "train", previous]
    with (
        scratch("train", task, (config, settings, views), inputs, {"method": {"name": config.method}}) as progress,
        whole(LOGS / f"{task}.jsonl") as log,
        whole_folder(out) as folder,
    ):
        if load_method(str(config.method)).trains:
            trainer = learn(config, settings, views, previous, log, broadcast(progress))
            save(config, trainer, previous, folder)
        else:
            log.touch()
            save_checkpoint(folder, config, {}, {})


def follow(task: str) -> None:
    """Learn the task beside the first process; nothing is written."""
    config, settings, views, previous = plan(task)
    if load_method(str(config.method)).trains:
        learn(config, settings, views, previous, Path(os.devnull), broadcast(Path()))


def plan(task: str) -> tuple[CheckpointConfig, Settings, FeaturesParams, Path]:
    """The task's config before it is trained, what acts in it, how its views are made, and the checkpoint before."""
    manifest = MANIFEST / task / "task.json"
    with reading(manifest):
        row = read_json(manifest)
        row = {**row, "categories": {str(key): int(number) for key, number in row["categories"].items()}}
        name, previous = read("method.name", str), CHECKPOINTS / row["prev"]
        min(row["categories"].values())
        int(row["number"])
    phase = read("optim.first", Phase) if row["number"] == 1 else read("optim.later", Phase)
    settings = read_settings(task, phase)
    before = read_config(previous)
    if min(row["categories"].values()) != len(before.categories):
        raise UserError(
            f"tasks.yaml gives {task} categories that do not follow those learned before ({len(before.categories)}): a "
            "learned category keeps its number, so only append (`git checkout tasks.yaml` puts the file back)."
        )
    config = replace(
        before,
        method=name,
        seed=settings.seed,
        tasks=[*before.tasks, task],
        similarity=load_method(name).similarity,
        categories=before.categories | row["categories"],
    )
    return config, settings, read("features", FeaturesParams), previous


def learn(
    config: CheckpointConfig, settings: Settings, views: FeaturesParams, previous: Path, log: Path, progress: Path
) -> Trainer:
    """Train the task, a row a step into `log`; what an interrupted run had done is in `progress`."""
    task, number = config.tasks[-1], len(config.tasks)
    clip, device = backbone(BACKBONE)
    method, features = load_method(str(config.method)), Features(FEATURES / task / "train")
    model, memory = from_checkpoint(clip, previous, method, settings, number, frames=features.read(0).shape[0])
    decoded = FrameSplit(FRAMES / task / "train")
    pixels, precision = pixel_statistics(BACKBONE), settings.backbone.precision
    videos = make_source(model, features, decoded, pixels, device, views.flip, views.seed, precision)
    trainer = Trainer(model, method, videos, memory, number, settings, device)
    with log.open("w", encoding="utf-8") as stream:
        trainer.fit(lambda row: print(json.dumps(row), file=stream, flush=True), progress)
    return trainer


def save(config: CheckpointConfig, trainer: Trainer, previous: Path, folder: Path) -> None:
    """Save the checkpoint into `folder`."""
    remembered = trainer.remember(len(config.categories) - len(read_config(previous).categories)).tensors()
    config = replace(
        config,
        model=trainer.model.config,
        trained_parameters=trainer.trained_parameters,
        remembered_bytes=sum(x.nbytes for x in remembered.values()),
    )
    save_checkpoint(folder, config, trainer.model.adapter_state(), remembered)


if __name__ == "__main__":
    command(main)
