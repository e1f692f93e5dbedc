"""A split's videos as an encoder stores them, from cached features: what embed, joint and a sweep do alike.

Letters: V videos, M stored vectors of one, N frames, D embedding.
"""

from typing import Any

import torch
from torch import Tensor

from structalign.data.frame_store import FrameSplit
from structalign.model.backbone import pixel_statistics
from structalign.model.features import Features
from structalign.model.sources import make_source
from structalign.paths import BACKBONE, FEATURES, FRAMES
from structalign.search.encoder import Encoder


def store_split(encoder: Encoder, task: str, split: str) -> tuple[list[dict[str, Any]], Tensor, Tensor]:
    """A row a video, what the method stores of them [V, M, D], and zero-shot CLIP's raw frames [V, N, D]."""
    features = Features(FEATURES / task / split)
    zero_shot = features.zero_shot_frames() if len(features) else torch.empty(0, 1, encoder.clip.embedding_dim)
    frames = zero_shot
    if encoder.model is not None and len(features):
        decoded = FrameSplit(FRAMES / task / split)
        videos = make_source(encoder.model, features, decoded, pixel_statistics(BACKBONE), encoder.device)
        frames = encoder.videos(videos, f"embed {task} {split}")
    return [{**row, "task": task} for row in features.rows], encoder.head.store(frames), zero_shot
