"""Whether a sentence is weak: unlike all training captions, and unlike all stored videos, both by zero-shot CLIP.

A caption's familiarity is the cosine of n(mean_l n(w_l)) with the nearest training caption. Its match is the cosine of
its sentence with the nearest stored video. Training changes neither. Both thresholds are quantiles of the training
captions: 1 % are less familiar (among captions of other videos), and 65 % have a worse match.
Letters: R captions, V videos, D embedding.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from structalign.model.video_text import TextEmbeddings
from structalign.search.similarity import caption_vectors

KEPT = 4096  # captions per task, at most
MATCHED = 256  # captions per task whose match with the stored videos is measured, at most
LESS_FAMILIAR = 0.01  # share of the training captions below the threshold of familiarity
WORSE_MATCH = 0.65  # share of the training captions below the threshold of the match
CHUNK = 512


def observe(captions: TextEmbeddings, video: Tensor) -> dict[str, Tensor]:
    """The statistics of a task's training captions by zero-shot CLIP: `vectors` and `nearest`, and unit `sentences`.

    vectors [R, D], and `nearest` [R], the largest cosine with a caption of another video. sentences: [R', D], fewer
    captions. video: [R], the video of each caption.
    """
    step = -(-len(video) // KEPT)
    vectors, owner = caption_vectors(captions)[::step].contiguous(), video[::step]
    nearest = [
        (part @ vectors.T).masked_fill(own[:, None] == owner, -1).amax(dim=1)
        for part, own in zip(torch.split(vectors, CHUNK), torch.split(owner, CHUNK), strict=True)
    ]
    sentences = F.normalize(captions.sentence[:: -(-len(video) // MATCHED)], dim=-1)
    return {"vectors": vectors, "nearest": torch.cat(nearest), "sentences": sentences}


@dataclass(frozen=True)
class Familiarity:
    """vectors: [R, D] of all tasks' captions. videos: [V, D], unit. line, match_line: the two thresholds."""

    vectors: Tensor
    videos: Tensor
    line: float
    match_line: float

    def weak(self, captions: TextEmbeddings) -> Tensor:
        """Whether captions by zero-shot CLIP are below both thresholds: [R] bool."""
        familiar = largest_cosine(caption_vectors(captions), self.vectors)
        matched = largest_cosine(F.normalize(captions.sentence, dim=-1), self.videos)
        return (familiar < self.line) & (matched < self.match_line)


def familiarity(observed: Sequence[dict[str, Tensor]], videos: Tensor) -> Familiarity | None:
    """The familiarity from the statistics of all tasks and zero-shot CLIP's unit vectors of the videos [V, D].

    None before the first task, or without videos.
    """
    if not observed or not len(videos):
        return None
    vectors, nearest, sentences = (
        torch.cat([task[name] for task in observed]) for name in ("vectors", "nearest", "sentences")
    )
    matched = largest_cosine(sentences, videos)
    return Familiarity(vectors, videos, _quantile(nearest, LESS_FAMILIAR), _quantile(matched, WORSE_MATCH))


def largest_cosine(captions: Tensor, others: Tensor) -> Tensor:
    """The largest cosine of each unit vector of `captions` [R, D] with one of `others` [V, D]: [R]."""
    return torch.cat([(part @ others.T).amax(dim=1) for part in torch.split(captions, CHUNK)])


def _quantile(values: Tensor, share: float) -> float:
    return float(values.double().quantile(share))
