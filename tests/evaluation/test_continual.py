from typing import Any

import pytest

from structalign.evaluation.continual import backward_forgetting, headline, over_time
from structalign.evaluation.metrics import METRICS

ACC = {
    "t01": {"t01": 50.0},
    "t02": {"t01": 40.0, "t02": 60.0},
    "t03": {"t01": 30.0, "t02": 66.0, "t03": 10.0},
}


def test_forgetting_is_the_drop_since_learned_weighted_by_categories() -> None:
    # Task 1 lost 20 points, task 2 gained 6; task 1 has 3 categories, task 2 has 1: (3·20 − 6) / 4.
    assert backward_forgetting(ACC, {"t01": 3, "t02": 1, "t03": 9}, after="t03") == pytest.approx(13.5)


def test_forgetting_after_an_earlier_task_ignores_later_ones() -> None:
    assert backward_forgetting(ACC, {"t01": 3, "t02": 1, "t03": 9}, after="t02") == pytest.approx(10.0)


def test_nothing_is_forgotten_after_the_first_task() -> None:
    assert backward_forgetting(ACC, {"t01": 3, "t02": 1, "t03": 9}, after="t01") == 0.0


def test_a_hundredth_task_comes_after_the_ninety_ninth() -> None:
    acc = {"t99": {"t99": 50.0}, "t100": {"t99": 40.0, "t100": 1.0}}
    assert backward_forgetting(acc, {"t99": 1, "t100": 1}, after="t100") == pytest.approx(10.0)


def test_a_task_without_queries_does_not_count() -> None:
    acc: dict[str, dict[str, float]] = {"t01": {}, "t02": {"t02": 60.0}, "t03": {"t02": 50.0, "t03": 1.0}}
    assert backward_forgetting(acc, {"t01": 5, "t02": 1, "t03": 1}, after="t03") == pytest.approx(10.0)


def measured(acc: dict[str, float], offset: float = 0.0) -> dict[str, Any]:
    mean = sum(acc.values()) / len(acc) if acc else 0.0
    metrics = {"R@1": mean + offset, "R@5": 70.0, "R@10": 80.0, "MedR": 2.0, "MeanR": 5.5} if acc else {}
    return {
        "t2v": metrics,
        "v2t": metrics,
        "t2v_per_task": {task: {"R@1": value} for task, value in acc.items()},
        "v2t_per_task": {},
        "acc_seen": acc,
        "acc_task": acc,
    }


def evaluations(with_val: bool = True) -> list[dict[str, Any]]:
    return [
        {
            "task": after,
            "splits": {
                "test": {"method": measured(acc), "zero_shot": measured(acc, offset=-5.0)},
                "val": {"method": measured(acc if with_val else {}), "zero_shot": measured({})},
            },
        }
        for after, acc in ACC.items()
    ]


CATEGORIES = {"t01": 3, "t02": 1, "t03": 9}
KEYS = [
    *METRICS,
    *("R@1_avg", "v2t_R@1", "BWF_seen", "BWF_task"),
    *("zero_shot_R@1", "zero_shot_BWF_seen", "val_R@1", "val_BWF_seen"),
]


def test_the_headline_has_exactly_the_promised_keys() -> None:
    assert list(headline(over_time(evaluations(), CATEGORIES))) == KEYS


def test_the_headline_is_the_last_time_and_the_average_is_over_times() -> None:
    found = headline(over_time(evaluations(), CATEGORIES))
    last = (30 + 66 + 10) / 3
    assert found["R@1"] == pytest.approx(last, abs=1e-4)
    assert found["R@1_avg"] == pytest.approx((50 + 50 + last) / 3, abs=1e-4)
    assert found["zero_shot_R@1"] == pytest.approx(last - 5, abs=1e-4)
    assert found["BWF_seen"] == found["BWF_task"] == pytest.approx(13.5)


def test_one_task_has_forgotten_nothing() -> None:
    found = headline(over_time(evaluations()[:1], CATEGORIES))
    assert found["BWF_seen"] == found["BWF_task"] == 0.0
    assert found["R@1"] == found["R@1_avg"] == 50.0


def test_without_validation_queries_their_metrics_are_null() -> None:
    found = headline(over_time(evaluations(with_val=False), CATEGORIES))
    assert found["val_R@1"] is None
    assert found["val_BWF_seen"] is None
