"""Ranks computed in blocks of queries, and their metrics."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from structalign.errors import UserError
from structalign.evaluation import ranks as module
from structalign.evaluation.metrics import measure, summarise
from structalign.evaluation.ranks import rank, read_ranks, text_to_video_ranks, video_to_text_ranks, write_ranks
from structalign.params.ranking import Ranking
from structalign.search.fusion import fuse, of_system

HALF, THIRD = Ranking(beta=0.5, task_prior=0.1), Ranking(beta=0.3, task_prior=0.1)
Matrix = np.ndarray[Any, Any]


def random_scores(queries: int, videos: int, seed: int = 0) -> Matrix:
    return np.random.default_rng(seed).normal(size=(queries, videos))


def measured(
    words: Matrix, sentence: Matrix, ground_truth: Matrix, video_tasks: Sequence[str], tasks: Sequence[str]
) -> dict[str, Any]:
    ranks = rank([{"method.words": words, "method.sentence": sentence}], ground_truth, video_tasks, HALF)
    return measure(ranks, "method", ground_truth, video_tasks, tasks)


def matrices(queries: int, videos: int, seed: int = 0) -> dict[str, Matrix]:
    """Scores with few different values, so that there are ties, and best frames."""
    source = np.random.default_rng(seed)
    names = ("method.words", "method.sentence", "task_prior", "zero_shot.words", "zero_shot.sentence")
    scores = {name: source.integers(0, 6, (queries, videos)).astype(np.float32) / 7 for name in names}
    return {**scores, "best_frame": source.integers(0, 12, (queries, videos)).astype(np.uint8)}


def fused_of(scores: dict[str, Matrix], ranking: Ranking, system: str = "method") -> Matrix:
    return fuse(of_system(scores, system, ranking.weights()), ranking.weights())


def in_blocks(scores: dict[str, Matrix], size: int) -> list[dict[str, Matrix]]:
    count = len(scores["best_frame"])
    return [{name: x[start : start + size] for name, x in scores.items()} for start in range(0, count, size)]


@given(st.integers(1, 12), st.integers(2, 9), st.integers(1, 5), st.integers(0, 99))
def test_ranking_in_blocks_of_queries_changes_no_number(queries: int, videos: int, size: int, seed: int) -> None:
    scores = matrices(queries, videos, seed)
    ground_truth = np.random.default_rng(seed).integers(0, videos, queries)
    video_tasks = [f"t{1 + v % 2:02d}" for v in range(videos)]
    whole = rank([scores], ground_truth, video_tasks, THIRD)
    parts = rank(in_blocks(scores, size), ground_truth, video_tasks, THIRD)
    assert whole.keys() == parts.keys()
    for name, values in whole.items():
        np.testing.assert_array_equal(parts[name], values, err_msg=name)


def test_rows_taken_one_at_a_time_and_columns_on_disk_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    scores, ground_truth, video_tasks = matrices(30, 7), np.arange(30) % 5, ["t01"] * 4 + ["t02"] * 3
    whole = rank([scores], ground_truth, video_tasks, HALF)
    monkeypatch.setattr(module, "AT_ONCE", 1)
    monkeypatch.setattr(module, "IN_MEMORY", 1)
    monkeypatch.setattr(module, "IN_CACHE", 1)
    for name, values in rank([scores], ground_truth, video_tasks, HALF).items():
        np.testing.assert_array_equal(values, whole[name], err_msg=name)


def test_ranks_are_those_of_the_fused_matrix() -> None:
    scores, ground_truth = matrices(20, 8), np.arange(20) % 8
    found = rank([scores], ground_truth, ["t01"] * 8, THIRD)
    for system in ("method", "zero_shot"):
        fused = fused_of(scores, THIRD, system)
        assert found[f"{system}_text"].tolist() == text_to_video_ranks(fused, ground_truth).tolist()
        assert found[f"{system}_video"].tolist() == video_to_text_ranks(fused, ground_truth)[1].tolist()


def test_the_first_five_keep_the_order_of_columns_among_equals() -> None:
    scores, ground_truth = matrices(20, 30), np.arange(20)
    fused = fused_of(scores, THIRD)
    found = rank([scores], ground_truth, ["t01"] * 30, THIRD)
    assert found["top"].tolist() == np.argsort(-fused, axis=1, kind="stable")[:, :5].tolist()


def test_the_first_five_are_in_order_even_where_scores_are_infinitely_low() -> None:
    cosine = np.full((3, 7), -np.inf)
    cosine[1, 4], cosine[2, [6, 2]] = 0.5, 0.25
    block = {"method.sentence": cosine, "best_frame": np.zeros((3, 7), dtype=np.uint8)}
    found = rank([block], np.zeros(3, dtype=np.int64), ["t01"] * 7, HALF)
    assert found["top"].tolist() == [[0, 1, 2, 3, 4], [4, 0, 1, 2, 3], [2, 6, 0, 1, 3]]


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 3), st.integers(0, 99))
def test_task_ranks_equal_the_slow_definition(queries: int, videos: int, tasks: int, seed: int) -> None:
    source = np.random.default_rng(seed)
    scores, ground_truth = matrices(queries, videos, seed), source.integers(0, videos, queries)
    video_tasks = [f"t{task}" for task in source.integers(0, tasks, videos)]  # of one task, not side by side
    found = rank([scores], ground_truth, video_tasks, THIRD)
    for query, own in enumerate(ground_truth):
        gallery = [video for video in range(videos) if video_tasks[video] == video_tasks[own]]
        alone = {name: matrix[[query]][:, gallery] for name, matrix in scores.items()}
        row = fused_of(alone, THIRD)[0]
        assert found["method_task"][query] == sum(row >= row[gallery.index(own)])


@pytest.mark.parametrize(("block", "in_cache"), [(2, 10**6), (6, 3), (3, 3)])
def test_a_score_that_is_not_a_number_is_named_with_its_query(
    block: int, in_cache: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "IN_CACHE", in_cache)
    scores = matrices(6, 3)
    scores["method.words"][4, 1] = np.nan
    with pytest.raises(UserError, match="the score of query 4 and video 0 is not a number"):
        rank(in_blocks(scores, block), np.zeros(6, dtype=np.int64), ["t01"] * 3, HALF)


def test_a_row_of_a_part_is_named_by_its_number_among_all_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IN_CACHE", 3)
    scores = random_scores(4, 3)
    scores[2, 1] = np.nan
    with pytest.raises(UserError, match="the score of query 12 and video 1 is not a number"):
        text_to_video_ranks(scores, np.zeros(4, dtype=np.int64), first=10)


def test_stored_ranks_are_read_for_the_beta_they_hold_for(tmp_path: Path) -> None:
    ranks = rank([matrices(6, 3)], np.zeros(6, dtype=np.int64), ["t01"] * 3, THIRD)
    write_ranks(tmp_path / "ranks", ranks, THIRD)
    for name, values in read_ranks(tmp_path / "ranks", THIRD).items():
        np.testing.assert_array_equal(values, ranks[name], err_msg=name)


def test_ranks_of_another_beta_are_refused_with_the_command_that_makes_them(tmp_path: Path) -> None:
    file = tmp_path / "t03/test.ranks.safetensors"
    file.parent.mkdir()
    write_ranks(file, rank([matrices(6, 3)], np.zeros(6, dtype=np.int64), ["t01"] * 3, THIRD), THIRD)
    with pytest.raises(UserError, match=r"`ranking\.beta` = 0\.3.*`dvc repro -f -s embed@t03` to rank for 0\.5"):
        read_ranks(file, HALF)


def test_ranks_of_another_task_prior_are_refused(tmp_path: Path) -> None:
    write_ranks(tmp_path / "ranks", {}, HALF)
    with pytest.raises(UserError, match=r"`ranking\.task_prior` = 0\.1.* to rank for 0\.0"):
        read_ranks(tmp_path / "ranks", Ranking(beta=0.5, task_prior=0))


def test_ranks_without_a_task_prior_setting_are_refused(tmp_path: Path) -> None:
    save_file({}, tmp_path / "ranks", {"beta": "0.5"})
    with pytest.raises(UserError, match=r"`ranking\.task_prior` = none"):
        read_ranks(tmp_path / "ranks", HALF)


def test_the_task_prior_also_ranks_for_zero_shot_clip() -> None:
    scores, ground_truth = matrices(20, 8), np.arange(20) % 8
    scores["task_prior"] = np.repeat(random_scores(20, 2), 4, axis=1)
    tasks = ["t01"] * 4 + ["t02"] * 4
    found = rank([scores], ground_truth, tasks, Ranking(beta=0.5, task_prior=1e3))
    assert (found["zero_shot_text"] <= 4).tolist() == (
        (scores["task_prior"].argmax(axis=1) < 4) == (ground_truth < 4)
    ).tolist()


def test_a_task_prior_moves_whole_tasks_and_no_video_within_one() -> None:
    scores, ground_truth, video_tasks = matrices(40, 12), np.arange(40) % 12, ["t01"] * 5 + ["t02"] * 7
    scores["task_prior"] = np.repeat(random_scores(40, 2), [5, 7], axis=1)
    without = rank([scores], ground_truth, video_tasks, Ranking(beta=1, task_prior=0))
    much = rank([scores], ground_truth, video_tasks, Ranking(beta=1, task_prior=1e5))
    assert much["method_task"].tolist() == without["method_task"].tolist()
    right = (scores["task_prior"].argmax(axis=1) < 5) == (ground_truth < 5)
    first = np.where(
        right, 0, np.where(ground_truth < 5, 7, 5)
    )  # the videos of the other task, where that is preferred
    assert much["method_text"].tolist() == (first + without["method_task"]).tolist()


def test_gallery_task_only_ranks_and_standardises_over_own_videos() -> None:
    words, sentence = random_scores(6, 5), random_scores(6, 5, seed=1)
    ground_truth = np.array([0, 2, 4, 1, 3, 3])
    video_tasks = ["t01", "t02", "t01", "t02", "t01"]
    found = measured(words, sentence, ground_truth, video_tasks, ["t01", "t02"])
    rows, columns = [0, 1, 2], [0, 2, 4]
    own = np.ix_(rows, columns)
    alone = fuse({"words": words[own], "sentence": sentence[own]}, HALF.weights())
    assert found["acc_task"]["t01"] == summarise(text_to_video_ranks(alone, np.array([0, 1, 2])))["R@1"]


def test_other_tasks_scores_do_not_change_gallery_task() -> None:
    words, sentence = random_scores(6, 4), random_scores(6, 4, seed=1)
    ground_truth, video_tasks, tasks = np.array([0, 1, 1, 2, 3, 3]), ["t01", "t01", "t02", "t02"], ["t01", "t02"]
    before = measured(words, sentence, ground_truth, video_tasks, tasks)
    words[:, 2:] += 100  # dominates task 1 in the common gallery
    after = measured(words, sentence, ground_truth, video_tasks, tasks)
    assert after["acc_task"] == before["acc_task"]
    assert after["acc_seen"] != before["acc_seen"]


def test_the_mean_of_per_task_recalls_is_the_recall() -> None:
    words, sentence = random_scores(8, 4), random_scores(8, 4, seed=1)
    ground_truth = np.array([0, 0, 1, 1, 2, 2, 3, 3])
    found = measured(words, sentence, ground_truth, ["t01", "t01", "t02", "t02"], ["t01", "t02"])
    assert np.mean([found["acc_seen"]["t01"], found["acc_seen"]["t02"]]) == pytest.approx(found["t2v"]["R@1"])


def test_a_split_without_queries_has_no_metrics_and_no_error() -> None:
    nothing = np.zeros((0, 0))
    found = measured(nothing, nothing, np.zeros(0, dtype=np.int64), [], ["t01"])
    assert found["t2v"] == {}
    assert found["acc_seen"] == {}
