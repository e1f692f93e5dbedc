"""Train one task from its training pairs and the previous checkpoint."""

import os
from pathlib import Path

from structalign.console import command
from structalign.learning.chain import learn_task, next_config, save_task
from structalign.learning.distributed import broadcast, processes
from structalign.learning.loading import load_method
from structalign.learning.settings import Settings, read_settings
from structalign.model.checkpoint import CheckpointConfig, read_config, save_checkpoint
from structalign.params.features import FeaturesParams
from structalign.params.optim import Phase
from structalign.params.reading import read
from structalign.paths import BACKBONE, CHECKPOINTS, FEATURES, FRAMES, LOGS, MANIFEST
from structalign.scratch import scratch
from structalign.store import read_json, reading, whole, whole_folder


def main(task: str) -> None:
    """Write checkpoints/<TASK> and work/logs/<TASK>.jsonl. Of several processes (LAUNCH), the first one writes."""
    with processes() as first:
        (lead if first else follow)(task)


def lead(task: str) -> None:
    """Train the task and write the results."""
    manifest, out = MANIFEST / task / "task.json", CHECKPOINTS / task
    config, settings, views, previous = plan(task)
    inputs = [BACKBONE, manifest, FEATURES / task / "train", FRAMES / task / "train", previous]
    with (
        scratch("train", task, (config, settings, views), inputs, {"method": {"name": config.method}}) as progress,
        whole(LOGS / f"{task}.jsonl") as log,
        whole_folder(out) as folder,
    ):
        if load_method(str(config.method)).trains:
            trainer = learn_task(config, settings, views, previous, log, broadcast(progress))
            save_task(config, trainer, previous, folder)
        else:
            log.touch()
            save_checkpoint(folder, config, {}, {})


def follow(task: str) -> None:
    """Train the task together with the first process, without writing."""
    config, settings, views, previous = plan(task)
    if load_method(str(config.method)).trains:
        learn_task(config, settings, views, previous, Path(os.devnull), broadcast(Path()))


def plan(task: str) -> tuple[CheckpointConfig, Settings, FeaturesParams, Path]:
    """The task's config before training, its settings, the settings of its views, and the previous checkpoint."""
    manifest = MANIFEST / task / "task.json"
    with reading(manifest):
        row = read_json(manifest)
        categories = {str(key): int(number) for key, number in row["categories"].items()}
        name, previous = read("method.name", str), CHECKPOINTS / row["prev"]
        min(categories.values())
        int(row["number"])
    phase = read("optim.first", Phase) if row["number"] == 1 else read("optim.later", Phase)
    settings = read_settings(task, phase)
    config = next_config(read_config(previous), task, categories, name, settings.seed)
    return config, settings, read("features", FeaturesParams), previous


if __name__ == "__main__":
    command(main)
