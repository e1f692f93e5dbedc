"""Sentences against every stored video of a project, each task's videos with the sentence encoded as that task."""

from dataclasses import dataclass

import torch

from structalign.errors import UserError
from structalign.params.ranking import Ranking
from structalign.search.fusion import fuse, of_system
from structalign.search.index import Index
from structalign.search.retriever import Retriever
from structalign.search.scoring import score_queries


@dataclass(frozen=True)
class Hit:
    """A stored video; `start` and `end` in seconds bound the part that the best matching frame stands for, or the
    whole video where a method stores one vector of it."""

    score: float
    file: str
    category: int
    task: str
    start: float
    end: float


class Searcher:
    """A loaded checkpoint over an open index: it answers any number of sentences.

    Raises `UserError` where the index names no stored video of `split`.
    """

    def __init__(self, retriever: Retriever, index: Index, ranking: Ranking, split: str = "test"):
        self.retriever, self.weights, self.states = retriever, ranking.weights(), index.states
        self.galleries = index.galleries(split)
        if not self.galleries:
            raise UserError(
                f"{index.path} names no stored videos of split {split}: add test videos and run `dvc repro`."
            )
        self.rows = [row for gallery in self.galleries for row in gallery.rows]

    @torch.inference_mode()
    def search(self, sentence: str) -> list[Hit]:
        """All stored videos, best first, by the ranking score of docs/protocol.md."""
        tokens = self.retriever.tokeniser([sentence])
        found = score_queries(self.retriever.encoder, tokens, self.galleries, self.states, "search")
        signals = of_system({name: matrix.numpy() for name, matrix in found.items()}, "method", self.weights)
        fused = fuse(signals, self.weights)[0]
        return [self._hit(i, float(fused[i]), int(found["best_frame"][0, i])) for i in fused.argsort()[::-1].tolist()]

    def _hit(self, position: int, score: float, frame: int) -> Hit:
        row = self.rows[position]
        stored = self.galleries[0].frames.shape[1]
        part = row["duration"] / stored
        start = row["start"] + (frame * part if stored > 1 else 0)
        return Hit(score, row["file"], row["category"], row["task"], start, start + part)
