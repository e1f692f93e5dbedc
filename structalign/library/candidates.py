"""Search by candidates: an engine names K segments, and only these are ranked by the score (`search.candidates`).

Letters: V stored segments, T tasks, D embedding, K candidates, S sampled segments.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from structalign.library.engines.protocol import Engine
from structalign.library.engines.scan import Block
from structalign.library.entries import Entries, Filters, Floats
from structalign.library.ranking import Ranked, Span
from structalign.params.ranking import SIMILARITIES
from structalign.search.candidates import (
    Moments,
    Scale,
    combined,
    estimated,
    fused,
    moments,
    moments_by_task,
    sampled,
    scales_of,
)

Mode = Literal["exact", "candidates"]
WORDS, SENTENCE = SIMILARITIES


@dataclass(frozen=True)
class Asked:
    """A sentence, encoded as each of T tasks.

    sentences: n(sentence) [T, D]. words: mean_l n(w_l) [T, D], or None for a method that ranks by one cosine. bonus:
    [T], the weighted signals that are equal for all segments of a task. compare: the signals [K] of the segments at
    some positions, by name, and the time spans of their best frames. of_sample: the signals [S] of the sample.
    """

    sentences: Floats
    words: Floats | None
    bonus: Sequence[float]
    compare: Callable[[Sequence[int]], tuple[dict[str, Floats], Span]]
    of_sample: Callable[[], dict[str, Floats]]


@dataclass(frozen=True)
class Finder:
    """Finds candidates of an open index and ranks them. blocks: its vectors, in the order of its entries."""

    entries: Entries
    blocks: Sequence[Block]
    weights: Mapping[str, float]
    engine: Engine
    known: tuple[dict[int, Moments], list[int]] | None = None  # moments by task and positions of the sample

    @cached_property
    def moments(self) -> dict[int, Moments]:
        """The moments of each task's vectors."""
        if self.known is not None:
            return self.known[0]
        return moments_by_task((block.task, moments(block.vectors)) for block in self.blocks)

    @cached_property
    def sample(self) -> tuple[list[int], Floats, NDArray[np.int64]]:
        """The positions, vectors [S, D] and tasks [S] of the sampled segments."""
        places = sampled(entry.id for entry in self.entries.rows) if self.known is None else self.known[1]
        vectors, tasks, first = [], [], 0
        for block in self.blocks:
            here = [place - first for place in places if first <= place < first + len(block.vectors)]
            vectors.append(np.asarray(block.vectors[here], np.float32))
            tasks += [block.task] * len(here)
            first += len(block.vectors)
        return places, np.concatenate(vectors), np.array(tasks)

    def scales(self, asked: Asked) -> tuple[dict[str, Scale], Scale]:
        """Mean and deviation over all segments: of each similarity, and of the score."""
        queries = [asked.sentences] if asked.words is None else [asked.sentences, asked.words]
        exact = scales_of((own, np.stack([query[task] for query in queries])) for task, own in self.moments.items())
        scales = {SENTENCE: exact[0]}
        if asked.words is None and not any(asked.bonus):
            return scales, scales[SENTENCE]
        found, (_, vectors, tasks) = asked.of_sample(), self.sample
        if asked.words is not None:
            estimates = np.einsum("sd,sd->s", vectors, asked.words[tasks])
            scales[WORDS] = estimated(found[WORDS], estimates, exact[1])
        counts = [self.moments[task].count if task in self.moments else 0 for task in range(len(asked.bonus))]
        deviation = float(fused({name: row[None] for name, row in found.items()}, self.weights, scales).std())
        return scales, (float(np.average(asked.bonus, weights=counts)), max(deviation, 1e-6))

    def ranked(self, asked: Asked, k: int, filters: Filters) -> Ranked:
        """The `k` candidates that pass the filters, ranked by the score."""
        scales, usual = self.scales(asked)
        vectors = combined(asked.sentences, asked.words, scales, self.weights)
        if asked.words is None and not any(asked.bonus):
            vectors = np.asarray(asked.sentences, np.float32)
        found = (self.entries.place(id) for id in self.engine.find(vectors, asked.bonus, k, filters))
        places = sorted(place for place in found if place is not None)  # an engine may hold more than was opened
        if not places:
            return Ranked({}, {}, lambda place: (0.0, 0.0, 0.0), usual)
        signals, span = asked.compare(places)
        scores = fused({name: row[None] for name, row in signals.items()}, self.weights, scales)[0]
        similarity = np.mean([signals[name] for name in SIMILARITIES if name in signals], axis=0)
        order = np.argsort(-scores, kind="stable").tolist()
        return Ranked(
            {places[i]: float(scores[i]) for i in order}, {places[i]: float(similarity[i]) for i in order}, span, usual
        )
