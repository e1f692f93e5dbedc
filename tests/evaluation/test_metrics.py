import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from structalign.errors import UserError
from structalign.evaluation.metrics import METRICS, measure, recall_interval, summarise
from structalign.evaluation.ranks import text_to_video_ranks, video_to_text_ranks

# Three queries, three videos, one caption each: ranks 1, 2 and 3 can be read off row by row.
SCORES = np.array(
    [
        [0.9, 0.5, 0.1],
        [0.8, 0.7, 0.2],
        [0.6, 0.4, 0.3],
    ]
)
DIAGONAL = np.arange(3)


def random_scores(queries: int, videos: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(queries, videos))


def test_a_small_matrix_has_the_ranks_counted_by_hand() -> None:
    assert text_to_video_ranks(SCORES, DIAGONAL).tolist() == [1, 2, 3]


def test_columns_of_a_small_matrix_have_the_ranks_counted_by_hand() -> None:
    videos, ranks = video_to_text_ranks(SCORES, DIAGONAL)
    assert videos.tolist() == [0, 1, 2]
    assert ranks.tolist() == [1, 1, 1]


def test_a_tie_gets_the_worse_rank() -> None:
    assert text_to_video_ranks(np.array([[0.5, 0.5, 0.1]]), np.array([0])).tolist() == [2]


def test_a_collapsed_model_scores_zero_not_a_hundred() -> None:
    same = np.ones((12, 12))
    ground_truth = np.arange(12)
    assert summarise(text_to_video_ranks(same, ground_truth))["R@10"] == 0.0
    assert summarise(video_to_text_ranks(same, ground_truth)[1])["R@10"] == 0.0


def test_a_videos_other_captions_are_no_negatives_and_its_best_caption_counts() -> None:
    # Video 0 has captions 0 and 1, video 1 has caption 2. Caption 0 (0.2) is worse than the foreign 0.5,
    # caption 1 (0.9) is better: rank 1, though two rows of column 0 would come before caption 0.
    scores = np.array([[0.2, 0.0], [0.9, 0.0], [0.5, 0.0]])
    videos, ranks = video_to_text_ranks(scores, np.array([0, 0, 1]))
    assert dict(zip(videos.tolist(), ranks.tolist(), strict=True)) == {0: 1, 1: 3}


def test_a_video_without_a_caption_is_a_negative_but_no_query() -> None:
    scores = np.array([[0.5, 0.9]])
    assert text_to_video_ranks(scores, np.array([0])).tolist() == [2]
    assert video_to_text_ranks(scores, np.array([0]))[0].tolist() == [0]


def test_the_median_of_an_even_number_of_ranks_is_between_the_middle_two() -> None:
    assert summarise(np.array([1, 2, 5, 9]))["MedR"] == 3.5


def test_the_published_metrics_keep_their_names() -> None:
    assert [*METRICS][:5] == ["R@1", "R@5", "R@10", "MedR", "MeanR"]


def test_the_metrics_of_a_task_are_those_of_its_own_queries() -> None:
    ranks = {"own_text": np.array([1, 1, 9]), "own_task": np.array([1, 2, 1]), "own_video": np.array([5, 1, 1])}
    found = measure(ranks, "own", np.array([0, 1, 2]), ["t01", "t01", "t02"], ["t01", "t02", "t03"])
    assert found["acc_seen"] == {"t01": 100.0, "t02": 0.0}
    assert found["acc_task"] == {"t01": 50.0, "t02": 100.0}
    assert found["t2v_per_task"] == {"t01": summarise(np.array([1, 1])), "t02": summarise(np.array([9]))}
    assert found["v2t_per_task"] == {"t01": summarise(np.array([5, 1])), "t02": summarise(np.array([1]))}


def test_two_videos_have_an_interval_and_one_has_none() -> None:
    assert recall_interval(np.array([1, 2]), np.array([0, 1])) == (0.0, 100.0)
    assert recall_interval(np.array([1, 2]), np.array([0, 0])) is None


def test_an_interval_has_four_decimals() -> None:
    low, high = recall_interval(np.tile([1, 1, 2, 2, 2], 6)[:29], np.arange(29)) or (0.0, 0.0)
    assert (low, high) == (24.1379, 58.6207)


def test_a_score_that_is_not_a_number_is_refused_with_its_place() -> None:
    scores = SCORES.copy()
    scores[1, 2] = np.nan
    with pytest.raises(UserError, match="query 1 and video 2"):
        text_to_video_ranks(scores, DIAGONAL)
    with pytest.raises(UserError, match="query 1 and video 2"):
        video_to_text_ranks(scores, DIAGONAL)


def hit_rates(lists: list[tuple[np.ndarray, np.ndarray]]) -> list[float]:
    """Hit rates at 1, 5 and 10, percent, by torchmetrics, of (scores, relevant) a list."""
    torch = pytest.importorskip("torch")
    from torchmetrics.retrieval import RetrievalHitRate

    scores, relevant = (torch.from_numpy(np.concatenate(part)) for part in zip(*lists, strict=True))
    indexes = torch.arange(len(lists)).repeat_interleave(torch.tensor([len(scores) for scores, _ in lists]))
    return [100 * float(RetrievalHitRate(top_k=k)(scores, relevant, indexes=indexes)) for k in (1, 5, 10)]


def test_recalls_agree_with_torchmetrics_in_both_directions() -> None:
    scores = random_scores(40, 12)
    ground_truth = np.concatenate([np.arange(12), np.random.default_rng(2).integers(0, 12, size=28)])
    ours = summarise(text_to_video_ranks(scores, ground_truth))
    theirs = hit_rates([(scores[q], np.arange(12) == ground_truth[q]) for q in range(40)])
    assert [ours[f"R@{k}"] for k in (1, 5, 10)] == pytest.approx(theirs)

    # "The other own captions are no negatives" is: keep each video's best own caption, and all foreign ones.
    _, ranks = video_to_text_ranks(scores, ground_truth)
    best = [max(np.flatnonzero(ground_truth == v), key=lambda q: scores[q, v]) for v in range(12)]
    kept = [[q for q in range(40) if ground_truth[q] != v or q == best[v]] for v in range(12)]
    theirs = hit_rates([(scores[kept[v], v], np.array(kept[v]) == best[v]) for v in range(12)])
    ours = summarise(ranks)
    assert [ours[f"R@{k}"] for k in (1, 5, 10)] == pytest.approx(theirs)


MATRICES = arrays(np.float64, st.tuples(st.integers(1, 8), st.integers(2, 8)), elements=st.integers(-5, 5).map(float))


@given(scores=MATRICES, data=st.data())
@settings(deadline=None, max_examples=60)
def test_ranks_equal_the_slow_definition(scores: np.ndarray, data: st.DataObject) -> None:
    queries, videos = scores.shape
    ground_truth = np.array(data.draw(st.lists(st.integers(0, videos - 1), min_size=queries, max_size=queries)))
    slow = [
        1 + sum(scores[q, v] >= scores[q, ground_truth[q]] for v in range(videos) if v != ground_truth[q])
        for q in range(queries)
    ]
    assert text_to_video_ranks(scores, ground_truth).tolist() == slow
    for video, rank in zip(*video_to_text_ranks(scores, ground_truth), strict=True):
        best = max(scores[q, video] for q in range(queries) if ground_truth[q] == video)
        assert rank == 1 + sum(scores[q, video] >= best for q in range(queries) if ground_truth[q] != video)


@given(scores=MATRICES, data=st.data())
@settings(deadline=None, max_examples=40)
def test_the_order_of_the_gallery_never_matters(scores: np.ndarray, data: st.DataObject) -> None:
    queries, videos = scores.shape
    ground_truth = np.array(data.draw(st.lists(st.integers(0, videos - 1), min_size=queries, max_size=queries)))
    order = np.array(data.draw(st.permutations(range(videos))))
    moved = np.argsort(order)[ground_truth]
    assert text_to_video_ranks(scores[:, order], moved).tolist() == text_to_video_ranks(scores, ground_truth).tolist()


@given(ranks=st.lists(st.integers(1, 50), min_size=1, max_size=30))
def test_recall_never_falls_as_k_grows(ranks: list[int]) -> None:
    found = summarise(np.array(ranks))
    assert 0 <= found["R@1"] <= found["R@5"] <= found["R@10"] <= 100
    assert found["MeanR"] >= 1


def test_captions_of_one_video_are_drawn_together() -> None:
    """Four captions of one found video are one trial, not four."""
    ranks = np.array([1] * 40 + [2] * 40)
    apart = recall_interval(ranks, np.arange(80))
    together = recall_interval(ranks, np.repeat(np.arange(8), 10))
    assert apart is not None
    assert together is not None
    assert together[1] - together[0] > 2 * (apart[1] - apart[0])


def test_the_interval_is_that_of_the_binomial_where_each_video_has_one_caption() -> None:
    found = recall_interval(np.array([1] * 300 + [2] * 700), np.arange(1000))
    assert found == pytest.approx((27.2, 32.9), abs=0.4)  # 30 ± 1.96 · sqrt(30 · 70 / 1000)


@pytest.mark.parametrize("count", [0, 1])
def test_one_video_has_no_interval(count: int) -> None:
    assert recall_interval(np.ones(count, dtype=np.int64), np.zeros(count, dtype=np.int64)) is None
