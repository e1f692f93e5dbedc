"""Ranking signals: how a signal scores captions and stored videos, and which statistics it keeps of each task.

A signal is a file of `search.signals` with a `SIGNAL`. Its weight is a key of `ranking` (`params.ranking`).
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

Statistics = dict[str, Tensor]  # the statistics of one signal and task


@dataclass(frozen=True)
class Comparison:
    """The input of a signal: R captions and V stored videos of one task, by one encoder.

    text: the captions encoded for this task. zero_shot: the captions by zero-shot CLIP. videos: stored [V, M, D] unit
    vectors. head, model: how to compare both. number: the task, from 1. vectors: [V, D], if `prepared` made the videos.
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
        """The cosines of all words and stored vectors: [R, L, V, M]."""
        return cosines(self.text.words, self.text.mask, self.videos, normalised=self.vectors is not None)

    @cached_property
    def best_words(self) -> Tensor:
        """The largest cosine of any word with each stored vector: [R, V, M]."""
        return best_words(self.cosines)

    def tiles(self, queries: int, vectors: int) -> Iterator[list["Comparison"]]:
        """The same in tiles of bounded memory: `queries` captions by the videos with `vectors` stored vectors.

        A row of tiles has the same captions. Token positions without a word in a tile are dropped.
        """
        at_once = max(1, vectors // max(1, self.videos.shape[1]))
        parts = torch.split(self.videos, at_once)
        prepared = [None] * len(parts) if self.vectors is None else torch.split(self.vectors, at_once)
        for start in range(0, len(self.text.mask), queries):
            here = slice(start, start + queries)
            text = self.text[here]
            used = text.mask.any(dim=0)
            used[0] = True  # a caption may have no word
            text = TextEmbeddings(text.words[:, used], text.mask[:, used], text.sentence)  # no signal reads its ids
            zero_shot = self.zero_shot[here]
            yield [
                replace(self, text=text, zero_shot=zero_shot, videos=part, vectors=own)
                for part, own in zip(parts, prepared, strict=True)
            ]


def prepared(videos: Tensor, head: SimilarityHead) -> tuple[Tensor, Tensor | None]:
    """`videos` and `vectors` for comparisons with single queries, bit-identical to the stored [V, M, D].

    This saves normalising them for each query. They do not change if the head has no vectors.
    """
    if head.vectors is None:
        return videos, None
    return F.normalize(videos, dim=-1), head.vectors(videos)


def observe_nothing(captions: TextEmbeddings, category: Tensor, number: int) -> Statistics:
    """For a signal without statistics."""
    return {}


def no_state(observed: Sequence[Statistics]) -> None:
    """For a signal without a state."""


@dataclass(frozen=True)
class Signal:
    """One addend of the ranking score.

    score: a comparison and the signal's state -> [R, V], or None if it does not apply, for example to a head without
    words.
    observe: a task's training captions by zero-shot CLIP, their category [R] and the task's number -> its statistics.
    state: the statistics of all tasks in order (none before the first) -> the state for `score`.
    shared: all encoders share one matrix, since the signal only reads zero-shot CLIP's captions.
    """

    score: Callable[[Comparison, Any], Tensor | None]
    observe: Callable[[TextEmbeddings, Tensor, int], Statistics] = observe_nothing
    state: Callable[[Sequence[Statistics]], Any] = no_state
    shared: bool = False


@cache
def signals() -> dict[str, Signal]:
    """All signals that have a weight in `ranking`."""
    return {name: import_module(f"structalign.search.signals.{name}").SIGNAL for name in SIGNALS}


def observe(captions: TextEmbeddings, category: Tensor, number: int) -> Statistics:
    """The statistics of all signals for a task: tensors named <signal>.<tensor>."""
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
