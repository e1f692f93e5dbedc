"""The familiarity of a sentence with the training captions. Below a threshold its matches are weak.

A caption is one vector, n(mean_l n(w_l)) by zero-shot CLIP, which training does not change. Its familiarity is the
cosine with the nearest training caption. 95 % of the training captions reach the threshold among other videos'
captions.
Letters: R captions, D embedding.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from structalign.model.video_text import TextEmbeddings
from structalign.search.similarity import caption_vectors

KEPT = 4096  # at most, captions per task
BELOW = 0.05  # share of the training captions below the threshold
CHUNK = 512


def observe(captions: TextEmbeddings, video: Tensor) -> dict[str, Tensor]:
    """The statistics of a task's training captions by zero-shot CLIP: `vectors` [R, D] and `nearest` [R].

    `nearest` is the largest cosine with a caption of another video. video: [R], the video of each caption.
    """
    step = -(-len(video) // KEPT)
    vectors, owner = caption_vectors(captions)[::step].contiguous(), video[::step]
    nearest = [
        (part @ vectors.T).masked_fill(own[:, None] == owner, -1).amax(dim=1)
        for part, own in zip(torch.split(vectors, CHUNK), torch.split(owner, CHUNK), strict=True)
    ]
    return {"vectors": vectors, "nearest": torch.cat(nearest)}


@dataclass(frozen=True)
class Familiarity:
    """vectors: [R, D] of all tasks' captions. line: the threshold of familiarity below which matches are weak."""

    vectors: Tensor
    line: float

    def of(self, captions: TextEmbeddings) -> Tensor:
        """The familiarity [R] of captions by zero-shot CLIP."""
        return (caption_vectors(captions) @ self.vectors.T).amax(dim=1)


def familiarity(observed: Sequence[dict[str, Tensor]]) -> Familiarity | None:
    """The familiarity from the statistics of all tasks. None before the first task."""
    if not observed:
        return None
    nearest = torch.cat([task["nearest"] for task in observed]).double()
    return Familiarity(torch.cat([task["vectors"] for task in observed]), float(nearest.quantile(BELOW)))
