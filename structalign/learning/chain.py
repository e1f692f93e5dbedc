"""Train one task of a chain, from the previous checkpoint to a new one."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from structalign.data.frame_store import FrameSplit
from structalign.errors import UserError
from structalign.learning.init_task import backbone, from_checkpoint
from structalign.learning.loading import load_method
from structalign.learning.settings import Settings
from structalign.learning.trainer import Trainer
from structalign.model.backbone import pixel_statistics
from structalign.model.checkpoint import CheckpointConfig, read_config, save_checkpoint
from structalign.model.features import Features
from structalign.model.sources import make_source
from structalign.params.features import FeaturesParams
from structalign.paths import BACKBONE, FEATURES, FRAMES


def next_config(
    before: CheckpointConfig, task: str, categories: Mapping[str, int], method: str, seed: int
) -> CheckpointConfig:
    """The config of TASK before training. `categories`: its new categories, global id by name."""
    if min(categories.values()) != len(before.categories):
        raise UserError(
            f"tasks.yaml: the categories of {task} do not follow the {len(before.categories)} learned ones. Learned "
            "categories keep their numbers: only append categories, or restore the file with `git checkout tasks.yaml`."
        )
    return replace(
        before,
        method=method,
        seed=seed,
        tasks=[*before.tasks, task],
        similarity=load_method(method).similarity,
        categories={**before.categories, **categories},
    )


def learn_task(
    config: CheckpointConfig,
    settings: Settings,
    views: FeaturesParams,
    previous: Path,
    log: Path,
    progress: Path | None,
) -> Trainer:
    """Train the task of `next_config` and write a row per step to `log`. progress: folder to resume from, if any."""
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


def save_task(config: CheckpointConfig, trainer: Trainer, previous: Path, folder: Path) -> None:
    """Save the checkpoint of a trained task into the existing `folder`."""
    remembered = trainer.remember(len(config.categories) - len(read_config(previous).categories)).tensors()
    config = replace(
        config,
        model=trainer.model.config,
        trained_parameters=trainer.trained_parameters,
        remembered_bytes=sum(x.nbytes for x in remembered.values()),
    )
    save_checkpoint(folder, config, trainer.model.adapter_state(), remembered)
