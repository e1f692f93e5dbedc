"""The runs of a sweep, and its choice of settings."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from structalign.sweep.file import Plan, Setting
from structalign.sweep.queue import Queue, Run
from structalign.sweep.rounds import Done, play, rule, winners


class Kept:
    """A stand-in for the queue, with R@1 by the setting's value `x` and the seed, or the error of a failing run."""

    split = "val"

    def __init__(self, recall: dict[tuple[str, int], float | str]):
        self.recall, self.made = recall, list[tuple[str, int]]()

    def file(self, run: Run) -> Path:
        return Path(f"{run.setting.own['x']}-{run.seed}.json")

    def make(self, runs: Sequence[Run], label: str) -> None:
        self.made += [(run.setting.own["x"], run.seed) for run in runs]

    def result(self, run: Run) -> dict[str, Any]:
        found = self.recall[run.setting.own["x"], run.seed]
        if isinstance(found, str):
            return {"failed": found}
        trained = 0 if run.setting.method == "zero_shot" else 7
        return {"seed": run.seed, "measures": {run.setting.method: {"R@1": found}}, "trained_parameters": trained}


def setting(method: str, x: str) -> Setting:
    return Setting(method, {"x": x}, {"x": x}, {})


def played(
    settings: list[Setting], finalists: int | None, recall: dict[tuple[str, int], float | str]
) -> tuple[Kept, list[Done]]:
    queue = Kept(recall)
    return queue, play(Plan([0, 1], finalists, "val", [], settings), cast(Queue, queue))


ABC = [setting("lwf", name) for name in "abc"]


def test_the_best_at_the_first_seed_are_finalists_and_the_best_mean_is_chosen() -> None:
    recall: dict[tuple[str, int], float | str] = {("a", 0): 3, ("b", 0): 5, ("c", 0): 4, ("b", 1): 1, ("c", 1): 3}
    queue, done = played(ABC, 2, recall)
    assert queue.made == [("a", 0), ("b", 0), ("c", 0), ("b", 1), ("c", 1)]
    assert winners(done)["lwf"].setting is ABC[2]


def test_the_first_of_equally_good_settings_is_chosen() -> None:
    _, done = played(ABC, 1, dict.fromkeys([("a", 0), ("b", 0), ("c", 0), ("a", 1)], 2.0))
    assert winners(done)["lwf"].setting is ABC[0]


def test_each_method_has_its_own_finalists() -> None:
    settings = [setting("lwf", "a"), setting("zscl", "b"), setting("lwf", "c")]
    queue, _ = played(settings, 1, {("a", 0): 1, ("b", 0): 9, ("c", 0): 2, ("c", 1): 2, ("b", 1): 9})
    assert queue.made[3:] == [("b", 1), ("c", 1)]


def test_finalists_all_runs_every_setting_at_every_seed() -> None:
    queue, _ = played(ABC, None, {(name, seed): 1 for name in "abc" for seed in (0, 1)})
    assert len(queue.made) == 6


def test_the_rule_is_said_in_one_sentence() -> None:
    assert "the highest mean R@1 (val) over its seeds" in rule(Plan([0, 1], None, "val", [], ABC))
    assert "each method's 2 settings with the highest R@1 (val) at seed 0" in rule(Plan([0, 1], 2, "val", [], ABC))


def test_a_method_with_more_seeds_is_run_at_these_too() -> None:
    recall: dict[tuple[str, int], float | str] = {(name, seed): 1 for name in "abc" for seed in (0, 1)}
    queue = Kept(recall | {("b", 7): 4})
    settings = [setting("lwf", "a"), setting("zscl", "b")]
    done = play(Plan([0, 1], None, "val", [], settings, more_seeds={"zscl": [7]}), cast(Queue, queue))
    assert queue.made == [("a", 0), ("b", 0), ("a", 1), ("b", 1), ("b", 7)]
    assert [(len(one.runs), one.recall) for one in done] == [(2, 1), (3, 2)]


def test_a_method_that_trains_nothing_is_run_once() -> None:
    queue, done = played([setting("zero_shot", "a")], 1, {("a", 0): 1})
    assert queue.made == [("a", 0)]
    assert winners(done)["zero_shot"].recall == 1


@pytest.mark.parametrize("seed", [0, 1])
def test_a_setting_with_a_failed_run_is_not_chosen(seed: int) -> None:
    recall: dict[tuple[str, int], float | str] = {(name, s): 5 for name in "abc" for s in (0, 1)}
    recall["a", seed] = "task 1 diverged."
    _, done = played(ABC, 2, recall)
    assert winners(done)["lwf"].setting is ABC[1]
    assert [sentence for one in done for sentence in one.failed] == [f"a-{seed}.json: task 1 diverged."]


def test_a_method_whose_every_run_failed_has_no_winner() -> None:
    _, done = played(ABC[:1], 2, {("a", 0): "no"})
    assert winners(done) == {}
