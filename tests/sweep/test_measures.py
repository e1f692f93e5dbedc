"""The numbers of a sweep, from the ranks that a run keeps."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from structalign.evaluation.continual import backward_forgetting, head_and_tail
from structalign.evaluation.metrics import recall_interval, summarise
from structalign.sweep.measures import draws, interval, measures, over_seeds, resampled

RANKS = st.integers(1, 12)


@st.composite
def runs(draw: st.DrawFn) -> dict[str, Any]:
    """A run of two or three tasks of one to three videos, each with one to three queries."""
    sizes = draw(st.lists(st.lists(st.integers(1, 3), min_size=1, max_size=3), min_size=2, max_size=3))
    tasks = [f"t{number:02d}" for number, videos in enumerate(sizes, start=1) for _ in videos]
    captions = [count for videos in sizes for count in videos]
    queries = np.repeat(np.arange(len(captions)), captions).tolist()
    kinds = ("rank", "rank in task", "learned rank", "learned rank in task")
    row = {kind: draw(st.lists(RANKS, min_size=len(queries), max_size=len(queries))) for kind in kinds}
    row["v2t rank"] = draw(st.lists(RANKS, min_size=len(tasks), max_size=len(tasks)))
    categories = {task: draw(st.integers(1, 4)) for task in dict.fromkeys(tasks)}
    return {
        "categories": categories,
        "tasks": tasks,
        "category": [number % 3 for number in range(len(tasks))],
        "training videos": {"0": 4, "1": 4, "2": 4},
        "videos": tasks,
        "queries": queries,
        "rows": {"it": row},
    }


def accuracy(run: dict[str, Any], kind: str) -> dict[str, float]:
    """R@1 of each task's queries, as evaluate computes it."""
    ranks, of = np.array(run["rows"]["it"][kind]), np.array(run["tasks"])[run["queries"]]
    return {task: summarise(ranks[of == task])["R@1"] for task in run["categories"]}


@given(runs())
def test_recalls_are_those_of_evaluate(run: dict[str, Any]) -> None:
    found, expected = measures(run, "it"), summarise(np.array(run["rows"]["it"]["rank"]))
    assert {name: found[name] for name in ("R@1", "R@5", "R@10")} == {
        name: expected[name] for name in ("R@1", "R@5", "R@10")
    }
    assert found["v2t R@1"] == summarise(np.array(run["rows"]["it"]["v2t rank"]))["R@1"]


@given(runs(), st.sampled_from([("BWF seen", "rank"), ("BWF task", "rank in task")]))
def test_forgetting_is_that_of_the_report(run: dict[str, Any], which: tuple[str, str]) -> None:
    name, kind = which
    learned, final, tasks = accuracy(run, f"learned {kind}"), accuracy(run, kind), [*run["categories"]]
    matrix = dict.fromkeys(tasks[:-1], learned) | {tasks[-1]: final}
    assert measures(run, "it")[name] == pytest.approx(backward_forgetting(matrix, run["categories"], tasks[-1]))


@given(runs())
def test_learned_and_final_are_means_over_tasks(run: dict[str, Any]) -> None:
    found = measures(run, "it")
    for name, kind in (("learned", "learned rank in task"), ("final", "rank in task")):
        assert found[name] == pytest.approx(np.mean([*accuracy(run, kind).values()]))


@given(runs())
@settings(max_examples=20)
def test_an_interval_is_that_of_evaluate(run: dict[str, Any]) -> None:
    values = resampled(run, "it", draws(len(run["videos"])))["R@1"]
    expected = recall_interval(np.array(run["rows"]["it"]["rank"]), np.array(run["queries"]))
    assert interval(values)[1:] == pytest.approx(expected, abs=1e-3)


@given(runs())
@settings(max_examples=20)
def test_the_mean_over_equal_runs_is_that_of_one_run(run: dict[str, Any]) -> None:
    times = draws(len(run["videos"]))
    one, three = resampled(run, "it", times), over_seeds([run] * 3, "it", times)
    assert {name: interval(values) for name, values in three.items()} == {
        name: pytest.approx(interval(values)) for name, values in one.items()
    }


@given(runs())
@settings(max_examples=20)
def test_the_difference_of_a_run_to_itself_is_zero_in_every_draw(run: dict[str, Any]) -> None:
    times = draws(len(run["videos"]))
    values = resampled(run, "it", times)
    assert all(interval(values[name] - resampled(run, "it", times)[name]) == (0, 0, 0) for name in values)


def test_joint_has_learned_no_task_by_itself() -> None:
    row = {"rank": [1, 2], "rank in task": [1, 1], "v2t rank": [1, 3]}
    run = {"categories": {"t01": 1, "t02": 1}, "tasks": ["t01", "t02"], "videos": ["a", "b"], "queries": [0, 1]}
    run |= {"category": [0, 1], "training videos": {"0": 3, "1": 3}}
    found = measures(run | {"rows": {"joint": row}}, "joint")
    assert found == {"R@1": 50, "R@5": 100, "R@10": 100, "v2t R@1": 50, "R@1 task": 100}


@given(runs())
def test_the_true_task_is_known_to_a_ranking_within_it(run: dict[str, Any]) -> None:
    assert measures(run, "it")["R@1 task"] == summarise(np.array(run["rows"]["it"]["rank in task"]))["R@1"]


@given(runs(), st.lists(st.integers(1, 30), min_size=3, max_size=3))
def test_head_and_tail_are_those_of_the_report(run: dict[str, Any], sizes: list[int]) -> None:
    found = measures(run | {"training videos": dict(zip("012", sizes, strict=True))}, "it")
    ranks, of = np.array(run["rows"]["it"]["rank"]), np.array(run["category"])[run["queries"]]
    rows = {
        str(own): {"queries": int((of == own).sum()), "R@1": summarise(ranks[of == own])["R@1"]}
        for own in {*of.tolist()}
    }
    expected = head_and_tail(rows, dict(enumerate(sizes)))
    there = {name.removesuffix(" R@1"): found[name] for name in ("head R@1", "tail R@1") if name in found}
    assert {name: value for name, value in there.items() if not np.isnan(value)} == pytest.approx(expected)
    assert bool(there) == (len({*sizes}) > 1)
