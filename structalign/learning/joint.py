"""The baseline `joint`: `finetune`'s model, trained with L_con on the pairs of all tasks at once, routed as task 1."""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from structalign.data.frame_store import FrameSplit
from structalign.learning.init_task import backbone, from_scratch
from structalign.learning.methods.finetune import METHOD
from structalign.learning.settings import Settings
from structalign.learning.trainer import Trainer
from structalign.model.backbone import pixel_statistics
from structalign.model.features import Features, JoinedFeatures, VideoSource
from structalign.model.sources import make_source
from structalign.params.features import FeaturesParams
from structalign.paths import BACKBONE, FEATURES, FRAMES
from structalign.search.encoder import Encoder
from structalign.search.index import Gallery
from structalign.search.similarity_heads import HEADS
from structalign.search.storing import store_split


def learn_joint(
    tasks: Sequence[str],
    settings: Settings,
    views: FeaturesParams,
    progress: Path | None,
    control: Callable[[VideoSource], VideoSource] | None = None,
) -> Trainer:
    """Train for `settings.phase.epochs`, so each video is visited as often as in its own task.

    control: train on what this makes of the videos of all tasks, such as videos with other captions.
    """
    features = [Features(FEATURES / task / "train") for task in tasks]
    frames = JoinedFeatures(features).read(0).shape[0]
    clip, device = backbone(BACKBONE)
    model, memory = from_scratch(clip, METHOD, settings, frames)
    pixels, precision = pixel_statistics(BACKBONE), settings.backbone.precision
    videos = [
        make_source(model, part, FrameSplit(FRAMES / task / "train"), pixels, device, views.flip, views.seed, precision)
        for part, task in zip(features, tasks, strict=True)
    ]
    joined = JoinedFeatures(videos)
    shown = control(joined) if control else joined
    trainer = Trainer(model, METHOD, shown, memory, 1, settings, device)
    trainer.fit(lambda row: None, progress)
    return trainer


@torch.inference_mode()
def joint_galleries(trainer: Trainer, tasks: Sequence[str], split: str) -> tuple[Encoder, list[Gallery]]:
    """The galleries of a split by task, all encoded by the single model. A task without videos has no gallery."""
    encoder = Encoder(trainer.model.clip, trainer.model, HEADS[METHOD.similarity], trainer.device)
    stored = [store_split(encoder, task, split) for task in tasks]
    galleries = [Gallery(task, n, 1, *found) for n, (task, found) in enumerate(zip(tasks, stored, strict=True), 1)]
    return encoder, [gallery for gallery in galleries if gallery.rows]
