from typing import Any

import numpy as np

from structalign.evaluation.qualitative import examples
from structalign.evaluation.ranks import rank
from structalign.params.ranking import Ranking

VIDEOS: list[dict[str, Any]] = [{"id": f"v{i}", "file": f"v{i}.mp4", "task": "t01", "category": i} for i in range(6)]


def asked(ground_truth: list[int]) -> list[dict[str, Any]]:
    return [{"text": f"q{q}", "video": f"v{v}", "task": "t01"} for q, v in enumerate(ground_truth)]


def ranked(ground_truth: list[int], ranks: list[int]) -> np.ndarray:
    """Scores (Q, 6) that put each query's own video at the given rank."""
    scores = np.zeros((len(ground_truth), 6))
    for query, (video, place) in enumerate(zip(ground_truth, ranks, strict=True)):
        others = [v for v in range(6) if v != video]
        order = [*others[: place - 1], video, *others[place - 1 :]]
        scores[query, order] = np.arange(6, 0, -1)
    return scores


def shown(ground_truth: list[int], ours: list[int], frozen: list[int]) -> dict[str, list[dict[str, Any]]]:
    frames = np.arange(len(ground_truth) * 6, dtype=np.uint8).reshape(-1, 6)
    index = np.array(ground_truth, dtype=np.int64)
    scores = {
        "method.sentence": ranked(ground_truth, ours),
        "zero_shot.sentence": ranked(ground_truth, frozen),
        "best_frame": frames,
    }
    found = rank([scores], index, [video["task"] for video in VIDEOS], Ranking(beta=0.5, task_prior=0))
    return examples(found, index, asked(ground_truth), VIDEOS)


def test_won_shows_queries_of_rank_1_that_zero_shot_clip_ranks_worst() -> None:
    won = shown([0, 1, 2, 3], ours=[1, 1, 1, 2], frozen=[1, 3, 6, 6])["won"]
    assert [(e["query"], e["rank"], e["zero_shot_rank"]) for e in won] == [("q2", 1, 6), ("q1", 1, 3)]


def test_lost_shows_the_worst_ranked_queries() -> None:
    lost = shown([0, 1, 2, 3], ours=[1, 2, 6, 4], frozen=[1, 1, 1, 1])["lost"]
    assert [(e["query"], e["rank"]) for e in lost] == [("q2", 6), ("q3", 4), ("q1", 2)]


def test_a_video_is_shown_for_one_of_its_queries() -> None:
    lost = shown([0, 0, 1], ours=[5, 6, 2], frozen=[1, 1, 1])["lost"]
    assert [e["query"] for e in lost] == ["q1", "q2"]


def test_the_first_five_come_in_order_with_their_best_frames() -> None:
    example = shown([3], ours=[2], frozen=[1])["lost"][0]
    assert [row["video"] for row in example["top"]] == ["v0", "v3", "v1", "v2", "v4"]
    assert [row["frame"] for row in example["top"]] == [0, 3, 1, 2, 4]
    assert example["answer"]["video"] == "v3"
