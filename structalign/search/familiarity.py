"""Whether a sentence is like anything that the training captions say: below a line, its matches are weak.

A caption is one vector, n(mean_l n(w_l)) by zero-shot CLIP, which no training moves. Its familiarity is the cosine with
the nearest training caption; the line is what 95 % of the training captions reach among those of other videos.
Letters: R captions, D embedding.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from structalign.model.video_text import TextEmbeddings
from structalign.search.similarity import caption_vectors

KEPT = 4096  # captions of a task, at most
BELOW = 0.05  # share of the training captions below the line
CHUNK = 512


def observe(captions: TextEmbeddings, video: Tensor) -> dict[str, Tensor]:
    """What is kept of a task's training captions by zero-shot CLIP: `vectors` [R, D], and the `nearest` [R] cosine
    with a caption of another video. video: [R], whose caption each one is."""
    step = -(-len(video) // KEPT)
    vectors, owner = caption_vectors(captions)[::step].contiguous(), video[::step]
    nearest = [
        (part @ vectors.T).masked_fill(own[:, None] == owner, -1).amax(dim=1)
        for part, own in zip(torch.split(vectors, CHUNK), torch.split(owner, CHUNK), strict=True)
    ]
    return {"vectors": vectors, "nearest": torch.cat(nearest)}


@dataclass(frozen=True)
class Familiarity:
    """vectors: [R, D] of all tasks' captions; line: the familiarity below which matches are weak."""

    vectors: Tensor
    line: float

    def of(self, captions: TextEmbeddings) -> Tensor:
        """That of captions by zero-shot CLIP [R]."""
        return (caption_vectors(captions) @ self.vectors.T).amax(dim=1)


def familiarity(observed: Sequence[dict[str, Tensor]]) -> Familiarity | None:
    """From what was kept of each task; None before the first."""
    if not observed:
        return None
    nearest = torch.cat([task["nearest"] for task in observed]).double()
    return Familiarity(torch.cat([task["vectors"] for task in observed]), float(nearest.quantile(BELOW)))
