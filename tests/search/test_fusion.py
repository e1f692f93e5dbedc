"""The fused score of a gallery."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from structalign.errors import UserError
from structalign.evaluation.ranks import text_to_video_ranks
from structalign.params.ranking import Ranking
from structalign.search.fusion import fuse, of_system, zscores

MATRICES = arrays(np.float64, st.tuples(st.integers(1, 8), st.integers(2, 8)), elements=st.integers(-5, 5).map(float))
WEIGHTS = Ranking(beta=0.3, task_prior=0.1).weights()
PAPER = Ranking(beta=0.3, task_prior=0).weights()


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(4, 6))


def test_z_scores_use_the_population_deviation() -> None:
    row = zscores(np.array([[0.0, 2.0, 4.0]]))[0]
    assert row == pytest.approx([-(1.5**0.5), 0.0, 1.5**0.5])


@given(scores=arrays(np.float32, st.tuples(st.integers(0, 8), st.integers(0, 40)), elements=st.floats(-1, 1, width=32)))
@settings(deadline=None)
def test_z_scores_have_the_bits_of_their_formula(scores: np.ndarray) -> None:
    if scores.size == 0:
        assert zscores(scores).shape == scores.shape
        return
    exact = scores.astype(np.float64)
    mean, deviation = exact.mean(axis=1, keepdims=True), exact.std(axis=1, keepdims=True)
    assert zscores(scores).tobytes() == ((exact - mean) / np.maximum(deviation, 1e-6)).tobytes()


def test_fusion_does_not_change_its_inputs() -> None:
    signals = {"words": noise(0), "sentence": noise(1), "task_prior": noise(2)}
    for names in (["words", "sentence", "task_prior"], ["sentence", "task_prior"], ["sentence"]):
        fuse({name: signals[name] for name in names}, WEIGHTS)[:] = 0
    for seed, matrix in enumerate(signals.values()):
        np.testing.assert_array_equal(matrix, noise(seed))


def test_a_constant_row_is_not_amplified() -> None:
    row = zscores(np.array([[1.0, 1.0 + 1e-9]]))[0]
    assert np.abs(row).max() == pytest.approx(5e-4, rel=1e-3)


@given(scores=MATRICES, shift=st.integers(-50, 50), scale=st.sampled_from([0.25, 2.0, 8.0]))
@settings(deadline=None, max_examples=40)
def test_z_scores_ignore_shift_and_scale(scores: np.ndarray, shift: int, scale: float) -> None:
    assert zscores(scores * scale + shift) == pytest.approx(zscores(scores), abs=1e-9)


def test_fusion_is_the_weighted_sum_of_z_scores() -> None:
    words, sentence = noise(0), noise(1)
    by_hand = np.empty((4, 6))
    for q, v in itertools.product(range(4), range(6)):
        z_words = (words[q, v] - words[q].mean()) / np.sqrt(np.mean((words[q] - words[q].mean()) ** 2))
        z_sentence = (sentence[q, v] - sentence[q].mean()) / np.sqrt(np.mean((sentence[q] - sentence[q].mean()) ** 2))
        by_hand[q, v] = 0.3 * z_words + 0.7 * z_sentence
    assert fuse({"words": words, "sentence": sentence}, PAPER) == pytest.approx(by_hand)


def test_a_further_signal_is_added_times_its_weight_without_standardisation() -> None:
    two, prior = {"words": noise(0), "sentence": noise(1)}, noise(2)
    np.testing.assert_allclose(fuse(two | {"task_prior": prior}, WEIGHTS), fuse(two, PAPER) + 0.1 * prior)


def test_a_signal_of_weight_0_is_ignored_even_if_it_is_nan() -> None:
    two, nothing = {"words": noise(0), "sentence": noise(1)}, np.full((4, 6), np.nan)
    np.testing.assert_array_equal(fuse(two | {"task_prior": nothing}, PAPER), fuse(two, PAPER))


@pytest.mark.parametrize("beta", [0.0, 0.3, 1.0])
def test_a_single_cosine_is_not_standardised_whatever_beta_is(beta: float) -> None:
    cosine = noise(0)
    np.testing.assert_array_equal(fuse({"sentence": cosine}, Ranking(beta=beta, task_prior=0).weights()), cosine)


def test_a_single_cosine_is_standardised_if_a_signal_is_added() -> None:
    cosine, prior = noise(0), noise(1)
    np.testing.assert_allclose(fuse({"sentence": cosine, "task_prior": prior}, WEIGHTS), zscores(cosine) + 0.1 * prior)


def test_matrices_of_different_shape_are_refused() -> None:
    with pytest.raises(UserError, match="differ in shape"):
        fuse({"words": np.zeros((2, 3)), "sentence": np.zeros((2, 4))}, PAPER)


def test_an_infinite_similarity_is_an_error_once_fused() -> None:
    words = noise(0)
    words[0, 0] = np.inf
    with np.errstate(invalid="ignore"), pytest.raises(UserError, match="not a number"):
        text_to_video_ranks(fuse({"words": words, "sentence": noise(1)}, PAPER), np.arange(4))


def test_a_system_has_its_own_matrices_and_the_shared_ones() -> None:
    names = {"method.words": 1, "method.sentence": 2, "zero_shot.sentence": 3, "task_prior": 4, "best_frame": 5}
    assert of_system(names, "method", WEIGHTS) == {"words": 1, "sentence": 2, "task_prior": 4}
    assert of_system(names, "zero_shot", WEIGHTS) == {"sentence": 3, "task_prior": 4}
