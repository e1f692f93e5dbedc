"""Queries to show: those a method won over frozen CLIP, and those it lost."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from structalign.retrieval.metrics import Floats, Ints, text_to_video_ranks

TOP = 5


def examples(
    scores: Floats,
    frozen: Floats,
    owner: Ints,
    best_frame: NDArray[np.uint8],
    queries: Sequence[dict[str, Any]],
    videos: Sequence[dict[str, Any]],
    count: int = 6,
) -> dict[str, list[dict[str, Any]]]:
    """Up to `count` queries each, with the first five videos found and the frame that matched best.

    `won` are ranked first where frozen CLIP ranked them worst; `lost` are those ranked worst; one query
    a video. `scores` and `frozen` are fused (Q, V), `best_frame` (Q, V) is the index of the frame nearest to the
    query's words. Equal ranks keep the order of the queries, so that two runs show the same page.
    """
    ranks, frozen_ranks = text_to_video_ranks(scores, owner), text_to_video_ranks(frozen, owner)

    def show(query: int) -> dict[str, Any]:
        def found(video: int) -> dict[str, Any]:
            row = {key: videos[video][key] for key in ("file", "task", "category")}
            score = round(float(scores[query, video]), 4)
            return row | {
                "video": videos[video]["id"],
                "frame": int(best_frame[query, video]),
                "score": score,
            }

        top = np.argsort(-scores[query], kind="stable")[:TOP]
        return {
            "query": queries[query]["text"],
            "video": queries[query]["video"],
            "task": queries[query]["task"],
            "rank": int(ranks[query]),
            "zero_shot_rank": int(frozen_ranks[query]),
            "top": [found(int(video)) for video in top],
            "answer": found(int(owner[query])),
        }

    def first(worst: Ints, among: NDArray[np.bool_]) -> list[int]:
        ordered = [int(q) for q in np.argsort(-worst, kind="stable") if among[q]]
        by_video: dict[int, int] = {}
        for query in ordered:
            by_video.setdefault(int(owner[query]), query)
        return list(by_video.values())[:count]

    won = first(frozen_ranks, (ranks == 1) & (frozen_ranks > 1))
    lost = first(ranks, ranks > 1)
    return {"won": [show(q) for q in won], "lost": [show(q) for q in lost]}
