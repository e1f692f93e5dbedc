import math

import numpy as np
import pytest
from numpy.typing import NDArray

from structalign.evaluation.geometry import (
    angle_spectra,
    geometry_over_time,
    misalignment,
    modality_gap,
    neural_collapse,
    text_drift,
)
from structalign.learning.etf import simplex_etf

Floats = NDArray[np.float64]
C, DIM, EACH = 5, 9, 4


def vertices(seen: int = C, capacity: int = C) -> Floats:
    """The first `seen` vertices of a simplex of `capacity`."""
    return simplex_etf(DIM, capacity, seed=0)[:seen].double().numpy()


def rotation(dim: int = DIM) -> Floats:
    found: Floats = np.linalg.qr(np.random.default_rng(0).normal(size=(dim, dim)))[0]
    return found


def crowd(centres: Floats, spread: float = 0.0) -> tuple[Floats, NDArray[np.int64]]:
    """Four samples around each centre: the centre ± spread along the first two axes, so the centre is their mean."""
    steps = np.zeros((EACH, centres.shape[1]))
    steps[:, :2] = [[spread, 0], [-spread, 0], [0, spread], [0, -spread]]
    return (centres[:, None] + steps).reshape(-1, centres.shape[1]), np.repeat(np.arange(len(centres)), EACH)


def measured(centres: Floats, targets: Floats, spread: float = 0.0) -> dict[str, float]:
    found = neural_collapse(*crowd(centres, spread), targets)
    assert found is not None
    return found


def test_everything_is_zero_on_the_vertices() -> None:
    assert measured(vertices(), vertices()) == pytest.approx(dict.fromkeys(PARTS, 0.0), abs=1e-6)


PARTS = ("NC1", "NC2_norms", "NC2_angles", "NC3", "NC4")


def test_everything_is_zero_on_the_seen_vertices_of_a_larger_simplex() -> None:
    """The mean of the seen vertices is not zero. Centred by it, they are a simplex."""
    found = measured(vertices(3, capacity=10), vertices(3, capacity=10))
    assert found == pytest.approx(dict.fromkeys(PARTS, 0.0), abs=1e-6)


@pytest.mark.parametrize("part", ["NC1", "NC2_norms", "NC2_angles"])
def test_a_rotated_simplex_is_still_collapsed(part: str) -> None:
    assert measured(vertices() @ rotation(), vertices())[part] == pytest.approx(0, abs=1e-6)


def test_a_rotated_simplex_is_off_its_vertices() -> None:
    """Squared distance of two matrices of norm 1: 2 − 2 times their inner product."""
    turned = vertices() @ rotation()
    assert measured(turned, vertices())["NC3"] == pytest.approx(2 - 2 * float((turned * vertices()).sum()) / C)


@pytest.mark.parametrize(("scale", "distance"), [(3.0, 0.0), (-1.0, 4.0)])
def test_nc3_ignores_length_but_not_direction(scale: float, distance: float) -> None:
    assert measured(scale * vertices(), vertices())["NC3"] == pytest.approx(distance, abs=1e-6)


@pytest.mark.parametrize("part", PARTS)
def test_shifting_all_prototypes_changes_no_centred_measure(part: str) -> None:
    if part != "NC4":  # the rule by vertices is not centred
        assert measured(vertices() + 0.3, vertices())[part] == pytest.approx(0, abs=1e-6)


def test_swapped_prototypes_disagree_with_their_vertices_on_every_sample_of_theirs() -> None:
    """Two of five prototypes sit on each other's vertex: nearest prototype and nearest vertex differ for both."""
    assert measured(vertices()[[1, 0, 2, 3, 4]], vertices())["NC4"] == pytest.approx(2 / 5)


def test_nc1_is_the_spread_within_over_the_spread_between() -> None:
    """On ±e_1 the between-covariance is 1 along e_1; within is spread²/2 along e_1 and e_2; C = 2."""
    centres = np.array([[1.0, 0, 0], [-1.0, 0, 0]])
    assert measured(centres, centres, spread=0.2)["NC1"] == pytest.approx(0.2**2 / 2 / 2)


def test_nc1_counts_a_category_once_whatever_its_samples() -> None:
    centres = np.array([[1.0, 0, 0], [-1.0, 0, 0]])
    samples, category = crowd(centres, 0.2)
    twice = neural_collapse(np.concatenate([samples, samples[category == 0]]), np.append(category, [0] * EACH), centres)
    assert twice is not None
    assert twice["NC1"] == pytest.approx(0.2**2 / 2 / 2)


def test_one_long_prototype_changes_the_norms() -> None:
    """Centred ±3 on one axis and ±1 on the other: mean 2, deviation 1."""
    centres = np.array([[3.0, 0], [-3.0, 0], [0, 1.0], [0, -1.0]])
    assert measured(centres, vertices(4)[:, :2])["NC2_norms"] == pytest.approx(0.5)


def test_a_square_is_off_the_simplex_by_its_angles() -> None:
    """Of six cosines two are −1 and four are 0; all should be −1/3."""
    centres = np.array([[1.0, 0], [-1.0, 0], [0, 1.0], [0, -1.0]])
    assert measured(centres, vertices(4)[:, :2])["NC2_angles"] == pytest.approx((2 * 2 / 3 + 4 / 3) / 6)


def test_categories_in_one_point_have_no_measure() -> None:
    assert neural_collapse(*crowd(np.ones((C, DIM)), 0.1), vertices()) is None


def test_one_category_has_no_measure() -> None:
    assert neural_collapse(*crowd(np.ones((1, DIM)), 0.1), vertices(1)) is None


@pytest.mark.parametrize("kind", ["text", "video", "other"])
def test_all_angles_of_a_simplex_are_one(kind: str) -> None:
    found = angle_spectra(vertices(), vertices())
    assert found is not None
    assert found[kind] == pytest.approx([math.degrees(math.acos(-1 / 4))] * 5)
    assert found["simplex"] == pytest.approx(math.degrees(math.acos(-1 / 4)))


def test_text_and_video_on_the_same_vertices_have_angle_zero() -> None:
    found = angle_spectra(vertices(), 2 * vertices())
    assert found is not None
    assert found["own"] == pytest.approx([0] * 5, abs=1e-4)


def test_a_gap_between_the_modalities_does_not_change_centred_angles() -> None:
    found = angle_spectra(vertices(), vertices() + 0.5)
    assert found is not None
    assert found["own"] == pytest.approx([0] * 5, abs=1e-4)


def test_the_modality_gap_is_the_shift() -> None:
    shift = np.zeros(DIM)
    shift[0] = 0.25
    assert modality_gap(vertices(), vertices() + shift) == pytest.approx(0.25)


def turn(degrees: float) -> Floats:
    a = math.radians(degrees)
    return np.array([[math.cos(a), math.sin(a)], [-math.sin(a), math.cos(a)]])


PLANE = np.array([[1.0, 0.0], [0.0, 2.0]])


@pytest.mark.parametrize("degrees", [0.0, 10.0, 90.0])
def test_the_drift_is_the_angle_of_a_rotation(degrees: float) -> None:
    assert text_drift(PLANE, PLANE @ turn(degrees)) == pytest.approx(degrees, abs=1e-6)


@pytest.mark.parametrize(
    ("then", "now", "moved"), [(0.0, 10.0, 10.0), (20.0, 5.0, -15.0), (10.0, -10.0, 0.0)], ids=["away", "near", "round"]
)
def test_misalignment_is_the_drift_away_from_the_videos(then: float, now: float, moved: float) -> None:
    assert misalignment(PLANE @ turn(then), PLANE @ turn(now), PLANE) == pytest.approx(moved, abs=1e-6)


def history() -> dict[str, dict[str, NDArray[np.generic]]]:
    """Two tasks of two categories; the first task's texts turn by 30° when the second is learned."""
    plane = PLANE.astype(np.float32)
    ids = np.arange(4)
    return {
        "t01": {"category": ids[:2], "text": plane, "video": plane},
        "t02": {
            "category": ids,
            "text": np.concatenate([PLANE @ turn(30), -PLANE]).astype(np.float32),
            "video": np.concatenate([plane, -plane]),
        },
    }


TASK_OF = {0: "t01", 1: "t01", 2: "t02", 3: "t02"}


def test_drift_is_reported_for_each_task_since_it_was_learned() -> None:
    found = geometry_over_time(history(), {"t01": None, "t02": None}, TASK_OF)
    assert found["text_drift"]["t02"] == pytest.approx({"t01": 30, "t02": 0}, abs=1e-3)
    assert found["misalignment"]["t02"] == pytest.approx({"t01": 30, "t02": 0}, abs=1e-3)


def test_a_task_without_queries_when_learned_has_no_drift() -> None:
    found = geometry_over_time({"t02": history()["t02"]}, {"t02": None}, TASK_OF)
    assert set(found["text_drift"]["t02"]) == {"t02"}
