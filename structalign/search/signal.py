"""What a ranking signal is: how captions and stored videos are scored, and which statistics each task adds.

A signal is a file of `search.signals` with one `SIGNAL`, and its weight is a key of `ranking` (`params.ranking`).
Letters: R captions, V videos, M stored vectors of a video, L words, D embedding.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from importlib import import_module
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from structalign.model.video_text import TextEmbeddings, VideoText
from structalign.params.ranking import SIGNALS
from structalign.search.similarity import best_words, cosines
from structalign.search.similarity_heads import FUSED, SimilarityHead

Statistics = dict[str, Tensor]  # what one signal keeps of one task


@dataclass(frozen=True)
class Comparison:
    """R captions against V stored videos of one task, by one encoder: what a signal scores.

    text: the captions as the encoder reads them for this task; zero_shot: by zero-shot CLIP. videos: [V, M, D] unit
    vectors, as stored. head, model: how both are compared. number: the task's, from 1. vectors: [V, D], with videos
    that `prepared` made.
    """

    text: TextEmbeddings
    zero_shot: TextEmbeddings
    videos: Tensor
    head: SimilarityHead = FUSED
    model: VideoText | None = None
    number: int = 1
    vectors: Tensor | None = None

    @cached_property
    def cosines(self) -> Tensor:
        """Of every word and stored vector: [R, L, V, M]."""
        return cosines(self.text.words, self.text.mask, self.videos, normalised=self.vectors is not None)

    @cached_property
    def best_words(self) -> Tensor:
        """The largest cosine of any word with each stored vector: [R, V, M]."""
        return best_words(self.cosines)

    def tiles(self, queries: int, vectors: int) -> Iterator[list["Comparison"]]:
        """The same in parts of bounded memory: a row of tiles for every `queries` captions, each of as many videos as
        have `vectors` stored vectors. Columns that hold no word of a tile's captions are left out."""
        at_once = max(1, vectors // max(1, self.videos.shape[1]))
        parts = torch.split(self.videos, at_once)
        prepared = [None] * len(parts) if self.vectors is None else torch.split(self.vectors, at_once)
        for start in range(0, len(self.text.mask), queries):
            here = slice(start, start + queries)
            text = self.text[here]
            used = text.mask.any(dim=0)
            used[0] = True  # a caption may have no word at all
            text = TextEmbeddings(text.words[:, used], text.mask[:, used], text.sentence)
            zero_shot = self.zero_shot[here]
            yield [
                replace(self, text=text, zero_shot=zero_shot, videos=part, vectors=own)
                for part, own in zip(parts, prepared, strict=True)
            ]


def prepared(videos: Tensor, head: SimilarityHead) -> tuple[Tensor, Tensor | None]:
    """The `videos` and `vectors` of comparisons with one query after the other, to the bit as of the stored [V, M, D].

    Each query would normalise them anew. They stay as they are where a head has no vectors of its own.
    """
    if head.vectors is None:
        return videos, None
    return F.normalize(videos, dim=-1), head.vectors(videos)


def observe_nothing(captions: TextEmbeddings, category: Tensor, number: int) -> Statistics:
    """A signal that needs nothing of the tasks."""
    return {}


def no_state(observed: Sequence[Statistics]) -> None:
    """A signal that needs nothing of the tasks."""


@dataclass(frozen=True)
class Signal:
    """One addend of the ranking.

    score: a comparison and the signal's state -> [R, V]; None where it does not apply (a head without words, say).
    observe: a task's training captions by zero-shot CLIP, their category [R] and the task's number -> its statistics.
    state: the statistics of all tasks, in their order and none before the first -> what `score` needs.
    shared: one matrix for every encoder, since the signal reads zero-shot CLIP's captions alone.
    """

    score: Callable[[Comparison, Any], Tensor | None]
    observe: Callable[[TextEmbeddings, Tensor, int], Statistics] = observe_nothing
    state: Callable[[Sequence[Statistics]], Any] = no_state
    shared: bool = False


@cache
def signals() -> dict[str, Signal]:
    """Every signal that `ranking` has a weight for."""
    return {name: import_module(f"structalign.search.signals.{name}").SIGNAL for name in SIGNALS}


def observe(captions: TextEmbeddings, category: Tensor, number: int) -> Statistics:
    """The statistics that all signals keep of a task: tensors named <signal>.<tensor>."""
    return {
        f"{name}.{key}": tensor.contiguous()
        for name, signal in signals().items()
        for key, tensor in signal.observe(captions, category, number).items()
    }


def states(observed: Sequence[Mapping[str, Tensor]]) -> dict[str, Any]:
    """Each signal's state, from the statistics of each task."""
    return {name: signal.state([_of(name, task) for task in observed]) for name, signal in signals().items()}


def _of(signal: str, task: Mapping[str, Tensor]) -> Statistics:
    prefix = f"{signal}."
    return {key.removeprefix(prefix): tensor for key, tensor in task.items() if key.startswith(prefix)}
