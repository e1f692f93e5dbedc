"""What the first task begins with: adapters at the identity, an orthonormal head, the simplex, an empty memory."""

import torch

from structalign.learning.etf import etf_head_init, simplex_etf
from structalign.learning.memory import Memory, empty_memory
from structalign.model.backbone import Clip
from structalign.model.video_text import Shape, VideoText
from structalign.sections.adapters import Adapters
from structalign.sections.etf import Etf


def build(
    clip: Clip, adapters: Adapters, etf: Etf, vision_frozen: int, frames: int, seed: int
) -> tuple[VideoText, Memory]:
    """A fresh model around `clip` for videos of `frames` frames, seeded by `seed` (adapters) and `etf.seed`."""
    shape = Shape(
        frames=frames,
        vision_frozen=vision_frozen,
        rank=adapters.rank,
        alpha=adapters.alpha,
        experts=adapters.experts,
        dropout=adapters.dropout,
        etf_dim=etf.dim,
    )
    model = VideoText(clip, shape, seed)
    with torch.no_grad():
        model.head.weight.copy_(etf_head_init(etf.dim, clip.embedding_dim, etf.seed))
    return model, empty_memory(simplex_etf(etf.dim, etf.capacity or etf.dim + 1, etf.seed), clip.embedding_dim)
