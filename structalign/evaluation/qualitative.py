"""Example queries: those that the method wins over zero-shot CLIP, and those with the worst ranks."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from structalign.evaluation.ranks import Ints


def examples(
    found: Mapping[str, NDArray[Any]],
    ground_truth: Ints,
    queries: Sequence[dict[str, Any]],
    videos: Sequence[dict[str, Any]],
    count: int = 6,
) -> dict[str, list[dict[str, Any]]]:
    """Up to `count` queries of each kind, with the first five videos and their best matching frames.

    `won`: ranked first, with the worst ranks by zero-shot CLIP. `lost`: the worst ranks. There is one query per video.
    `found` is the result of `ranks.rank`. Equal ranks keep the order of the queries, so that two runs give equal pages.
    """
    ranks, zero_shot_ranks = found["method_text"], found["zero_shot_text"]

    def row(video: int, score: float, frame: int) -> dict[str, Any]:
        shown = {key: videos[video][key] for key in ("file", "task", "category")}
        return shown | {"video": videos[video]["id"], "frame": int(frame), "score": round(float(score), 4)}

    def show(query: int) -> dict[str, Any]:
        top = zip(found["top"][query], found["top_score"][query], found["top_frame"][query], strict=True)
        return {
            "query": queries[query]["text"],
            "video": queries[query]["video"],
            "task": queries[query]["task"],
            "rank": int(ranks[query]),
            "zero_shot_rank": int(zero_shot_ranks[query]),
            "top": [row(*place) for place in top],
            "answer": row(int(ground_truth[query]), found["own_score"][query], found["own_frame"][query]),
        }

    def first(worst: Ints, among: NDArray[np.bool_]) -> list[int]:
        ordered = [int(q) for q in np.argsort(-worst, kind="stable") if among[q]]
        by_video: dict[int, int] = {}
        for query in ordered:
            by_video.setdefault(int(ground_truth[query]), query)
        return list(by_video.values())[:count]

    won = first(zero_shot_ranks, (ranks == 1) & (zero_shot_ranks > 1))
    lost = first(ranks, ranks > 1)
    return {"won": [show(q) for q in won], "lost": [show(q) for q in lost]}
