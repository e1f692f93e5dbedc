"""The scores of stored videos for one sentence, each encoded as the task whose encoder stored the video.

Letters: V clips and segments, M stored vectors of one, L words, D embedding, T tasks.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from structalign.library.candidates import Asked
from structalign.library.encoded_sentences import EncodedSentences
from structalign.library.entries import Entry, Floats
from structalign.library.parts import Chosen, Part, Parts
from structalign.library.ranking import Span
from structalign.library.segments import spread
from structalign.model.video_text import TextEmbeddings
from structalign.search.candidates import mean_words, unit_sentences
from structalign.search.encoder import Encoder
from structalign.search.fusion import fuse
from structalign.search.scoring import QUERIES, Matrices, score, side_by_side
from structalign.search.signal import Comparison, signals

_TILE = torch.zeros(QUERIES, dtype=torch.int64)  # one sentence, repeated as often as evaluation compares at a time


@dataclass(frozen=True)
class Scorer:
    """Scores the stored videos of an index.

    rows: the segments in the order of the parts. states: of the signals that are used. as_evaluated: give the bits of
    evaluation, which compares many captions at a time.
    """

    parts: Parts
    rows: Sequence[Entry]
    sentences: EncodedSentences
    encoder: Encoder
    states: Mapping[str, Any]
    weights: Mapping[str, float]
    as_evaluated: bool

    def scores(self, sentence: str) -> tuple[Floats, Floats, Span]:
        """Ranking scores [V] and absolute similarities [V] of all segments, and their spans (`ranking.hits`)."""
        found = {name: matrix.numpy() for name, matrix in self.matrices(sentence).items()}
        best = found.pop("best_frame")[0]
        scores = fuse(found, self.weights)[0]
        similar = [found[name][0] for name in ("words", "sentence") if name in found]

        def span(place: int) -> tuple[float, float, float]:
            return self._span(place, int(best[place]))

        return scores, np.mean(similar, axis=0), span

    @torch.inference_mode()
    def matrices(self, sentence: str) -> Matrices:
        """Each signal's row [1, V], and each segment's best frame."""
        texts, plain = self.sentences.of(sentence)
        self.parts.prepare(self.encoder.head)
        found = []
        for stored in self.parts:
            text = texts[stored.gallery.encoded_as]
            zero_shot = plain or text
            if self.as_evaluated:  # the last bits of a matrix product depend on its number of rows
                text, zero_shot = text[_TILE], zero_shot[_TILE]
            found += [self._matrices(part, text, zero_shot) for part in stored.pieces(self.encoder.head)]
        return {name: matrix[:1] for name, matrix in side_by_side(found).items()}

    def _matrices(self, part: Part, text: TextEmbeddings, zero_shot: TextEmbeddings) -> Matrices:
        gallery, encoder = part.gallery, self.encoder
        comparison = Comparison(
            text, zero_shot, gallery.frames, encoder.head, encoder.model, gallery.number, part.vectors
        )
        return score(comparison, self.states, shared=bool(self.states))

    def explained(self, sentence: str, place: int) -> tuple[TextEmbeddings, Tensor]:
        """The sentence [1, L, D], encoded for the segment at a position, and the segment's vectors [M, D]."""
        texts, _ = self.sentences.of(sentence)
        part, row = self.parts.at(place)
        return texts[part.gallery.encoded_as], part.frames([row])[0]

    def asked(self, sentence: str, sample: Callable[[], Chosen]) -> Asked:
        """What candidates of a sentence are found and ranked by. sample: gives the sampled segments."""
        texts, _ = self.sentences.of(sentence)
        tasks = self.parts.tasks
        by_task = [texts[task] for task in tasks]
        words = mean_words(by_task) if self.encoder.head.words else None

        def compare(places: Sequence[int]) -> tuple[dict[str, Floats], Span]:
            return self._compare(sentence, places)

        def of_sample() -> dict[str, Floats]:
            return self._signals(sentence, sample())[0]

        bonus = [self._bonus(sentence, task) if self.states else 0.0 for task in tasks]
        return Asked(unit_sentences(by_task), words, bonus, compare, of_sample)

    def _bonus(self, sentence: str, task: int) -> float:
        """The weighted signals that are equal for all videos of a task."""
        found, _ = self._signals(sentence, self.parts.some([self.parts.first_of(task)]))
        shared = [name for name, signal in signals().items() if signal.shared]
        return sum(self.weights[name] * float(matrix[0]) for name, matrix in found.items() if name in shared)

    def _compare(self, sentence: str, places: Sequence[int]) -> tuple[dict[str, Floats], Span]:
        """The signals of the segments at some ascending positions, and the spans of their best frames."""
        found, frames = self._signals(sentence, self.parts.some(places))
        at = {place: number for number, place in enumerate(places)}
        return found, lambda place: self._span(place, frames[at[place]])

    def _signals(self, sentence: str, chosen: Chosen) -> tuple[dict[str, Floats], list[int]]:
        """The signals of some segments by name, and their best frames, in the order of the given positions."""
        texts, plain = self.sentences.of(sentence)
        found = []
        for _, part in chosen:
            text = texts[part.gallery.encoded_as]
            found.append(self._matrices(part, text, plain or text))
        order = np.argsort([place for here, _ in chosen for place in here])
        rows = {name: matrix[0].numpy()[order] for name, matrix in side_by_side(found).items()}
        return rows, rows.pop("best_frame").tolist()

    def _span(self, place: int, frame: int) -> tuple[float, float, float]:
        """Start, end and time of the best `frame` of the segment at a position."""
        entry, (part, _) = self.rows[place], self.parts.at(place)
        stored = part.gallery.frames.shape[1]
        at = spread(entry.times, stored)[frame]
        if entry.split == "added" or stored == 1:
            return entry.start, entry.end, at
        share = entry.duration / stored
        return entry.start + frame * share, entry.start + frame * share + share, at
