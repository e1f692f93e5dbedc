"""Queries of the manifest against galleries in memory: the ranks that embed and evaluate find by way of files.

Letters: Q queries, V videos.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from structalign.evaluation.ranks import rank
from structalign.model.backbone import Tokeniser
from structalign.params.ranking import Ranking
from structalign.paths import BACKBONE, MANIFEST
from structalign.search.encoder import Encoder
from structalign.search.index import Gallery
from structalign.search.scoring import QUERIES, score_queries
from structalign.store import read_rows

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Asked:
    """Queries of a split and the videos they search: `truth` [Q] is the column of a query's video in `videos` [V]."""

    split: str
    queries: list[dict[str, Any]]
    videos: list[dict[str, Any]]
    truth: Ints

    @property
    def video_tasks(self) -> list[str]:
        """[V] the task of each video."""
        return [row["task"] for row in self.videos]


def asked(task: str, split: str, galleries: Sequence[Gallery]) -> Asked:
    """The queries of a split after TASK whose video is in a gallery, in the manifest's order."""
    videos = [row for gallery in galleries for row in gallery.rows]
    column = {row["id"]: i for i, row in enumerate(videos)}
    queries = read_rows(MANIFEST / task / "seen.json", "queries", "video", "text", "category", "split", "task")
    own = [query for query in queries if query["split"] == split and query["video"] in column]
    return Asked(split, own, videos, np.array([column[query["video"]] for query in own], dtype=np.int64))


@torch.inference_mode()
def find(
    encoder: Encoder,
    galleries: Sequence[Gallery],
    states: Mapping[str, Any],
    question: Asked,
    rankings: Mapping[str, tuple[str, Ranking]],
    of: str | None = None,
) -> tuple[Ints, dict[str, dict[str, NDArray[Any]]]]:
    """Which queries were asked, and of each ranking (a system of `ranks.SYSTEMS` and its weights) what `ranks.rank`
    finds of them.

    of: ask the queries of this task alone. Then whole tiles of `scoring.QUERIES` are scored and ranked, so that the
    bits are those of all queries, and the others are dropped again; the ranks of videos stay those of the tiles.
    """
    rows = np.arange(len(question.queries))
    if of is not None:
        own = np.array([query["task"] == of for query in question.queries], dtype=bool)
        rows = rows[np.isin(rows // QUERIES, np.unique(rows[own] // QUERIES))]
    texts = [query["text"] for query in question.queries]
    tokens = Tokeniser(BACKBONE)(texts)[torch.from_numpy(rows)]  # as wide as all captions, as when all are asked
    scores = score_queries(encoder, tokens, galleries, states, f"score {galleries[-1].task}")
    found = {}
    for name, (system, ranking) in rankings.items():
        part = {key: x.numpy() for key, x in scores.items() if key.partition(".")[0] in (system, key)}
        found[name] = rank([part], question.truth[rows], question.video_tasks, ranking)
    return rows, found
