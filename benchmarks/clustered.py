"""A synthetic gallery that is as hard to search as a real one: clusters, a modality gap, and encoders that drift.

Each task has its own categories and its own encoder. A video is its category plus what is its own. Its frames scatter.
A caption is about one video, and says part of what is the video's own. Its words scatter.
Letters: T tasks, V videos of a task, N frames, L words, D embedding.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from structalign.model.video_text import TextEmbeddings

CATEGORIES = 20  # of a task
GAP, CATEGORY, OWN, DRIFT = 1.0, 0.6, 0.5, 0.3  # lengths of a vector's parts
SEEDS, CAPTIONS = 1_000_000_000, 500_000_000  # so that no two streams are equal: neither of two seeds, nor of others
FRAME, WORD, SAID = 0.9, 1.0, 0.3  # scatter of frames and words, and how much a caption says of the video's own part


@dataclass(frozen=True)
class Clusters:
    """The parts that all videos and captions share. Each vector of `gaps`, `centres` and `drifts` has length 1.

    seed: of the videos and captions.
    """

    gaps: Tensor  # [2, D], of captions and videos
    centres: Tensor  # [T, categories, D]
    drifts: Tensor  # [T, 2, D]
    seed: int = 0

    @property
    def tasks(self) -> int:
        return len(self.centres)

    def videos(self, task: int, first: int, count: int, frames: int) -> Tensor:
        """Unit frames [V, N, D] of `count` videos of a task (from 0), from `first` on."""
        dim, (own, source) = self.gaps.shape[1], self._own(task, first, count)
        centre = self.centres[task][(first + torch.arange(count)) % CATEGORIES]
        video = GAP * self.gaps[1] + DRIFT * self.drifts[task, 1] + CATEGORY * centre + OWN * own
        scatter = torch.randn(count, frames, dim, generator=source) / dim**0.5
        return F.normalize(video[:, None] + FRAME * scatter, dim=-1)

    def own(self, task: int, first: int, count: int) -> Tensor:
        """The own parts [V, D] of the same videos."""
        return self._own(task, first, count)[0]

    def _own(self, task: int, first: int, count: int) -> tuple[Tensor, torch.Generator]:
        dim, source = self.gaps.shape[1], self._source(1_000_003 * (task + 1) + first)
        return torch.randn(count, dim, generator=source) / dim**0.5, source

    def caption(self, task: int, video: int, own: Tensor, words: int, seed: int) -> list[TextEmbeddings]:
        """A caption of a task's video with the part `own` [D], encoded as each task."""
        dim, source = len(own), self._source(CAPTIONS + seed)
        said = CATEGORY * self.centres[task][video % CATEGORIES] + SAID * OWN * own
        said = said + GAP * self.gaps[0] + 0.3 * torch.randn(dim, generator=source) / dim**0.5
        scatter = WORD * torch.randn(words, dim, generator=source) / dim**0.5
        mask = torch.ones(1, words, dtype=torch.bool)
        moved = [said + DRIFT * drift[0] for drift in self.drifts]
        return [TextEmbeddings((here + scatter)[None], mask, here[None]) for here in moved]

    def _source(self, number: int) -> torch.Generator:
        return torch.Generator().manual_seed(SEEDS * self.seed + number)


def clusters(tasks: int, dim: int, seed: int = 0) -> Clusters:
    """The shared parts of `tasks` tasks."""
    source = torch.Generator().manual_seed(seed)

    def units(*shape: int) -> Tensor:
        return F.normalize(torch.randn(*shape, dim, generator=source), dim=-1)

    return Clusters(units(2), units(tasks, CATEGORIES), units(tasks, 2), seed)


def captions(made: Clusters, count: int, videos: int, words: int) -> Iterator[tuple[int, list[TextEmbeddings]]]:
    """`count` captions of evenly spread videos, `videos` of each task, with the task (from 0)."""
    for number in range(count):
        task, video = number % made.tasks, (number * 7919) % videos
        first = video - video % BLOCK
        own = made.own(task, first, min(BLOCK, videos - first))
        yield task, made.caption(task, video, own[video - first], words, number)


BLOCK = 1000  # videos of a task that are made at a time
