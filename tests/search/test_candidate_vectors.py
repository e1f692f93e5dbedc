"""Candidates: exact moments that add up, a deviation from a sample, and a key that orders like the score."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from structalign.model.video_text import TextEmbeddings
from structalign.search.candidates import (
    Floats,
    combined,
    estimated,
    fused,
    mean_words,
    moments,
    sampled,
    scales_of,
    unit_sentences,
)
from structalign.search.fusion import fuse
from structalign.search.similarity import sentence_cosines, video_vectors, word_frame

WEIGHTS = {"words": 0.75, "sentence": 0.25, "task_prior": 0.5}


def vectors(count: int, seed: int = 0, dim: int = 8) -> Floats:
    found = np.random.default_rng(seed).standard_normal((count, dim)).astype(np.float32)
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    return found


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 50), st.integers(1, 50), st.integers(0, 5))
def test_mean_and_deviation_of_all_tasks_are_exact(first: int, second: int, seed: int) -> None:
    one, other, queries = vectors(first, seed), vectors(second, seed + 1), vectors(2, seed + 2)
    keys = np.concatenate([one @ queries[0], other @ queries[1]]).astype(np.float64)
    (found,) = scales_of([(moments(one), queries[:1]), (moments(other), queries[1:])])
    assert found == pytest.approx((keys.mean(), max(keys.std(), 1e-6)), abs=2e-4)


def test_moments_add_up_under_adding_and_removing() -> None:
    whole, added = vectors(40), vectors(7, 1)
    joined = moments(np.concatenate([whole, added]))
    for found, expected in ((moments(whole) + moments(added), joined), (joined - moments(added), moments(whole))):
        assert found.count == expected.count
        assert found.total == pytest.approx(expected.total, abs=1e-5)
        assert found.second == pytest.approx(expected.second, abs=1e-5)


def test_a_sample_hardly_changes_when_a_video_is_added_or_removed() -> None:
    ids = [f"video {number}" for number in range(500)]
    before = {ids[place] for place in sampled(ids, 100)}
    assert len(before) == 100
    more = [*ids, "another"]
    assert len(before - {more[place] for place in sampled(more, 100)}) <= 1
    less = [id for id in ids if id != min(before)]
    assert before - {less[place] for place in sampled(less, 100)} == {min(before)}


def test_a_sample_does_not_depend_on_the_order_of_the_videos() -> None:
    ids = [f"video {number}" for number in range(500)]
    assert {ids[place] for place in sampled(ids, 50)} == {ids[::-1][place] for place in sampled(ids[::-1], 50)}


def test_the_estimated_deviation_is_exact_for_a_similarity_that_is_linear() -> None:
    estimates = np.random.default_rng(0).standard_normal(1000).astype(np.float32)
    whole = (float(estimates.mean()), float(estimates.std()))
    found = estimated(2 * estimates[:50] + 3, estimates[:50], whole)
    assert found == pytest.approx((2 * whole[0] + 3, 2 * whole[1]), abs=1e-4)


def says(words: int) -> TextEmbeddings:
    """A random caption with some words and a padded position."""
    source = torch.Generator().manual_seed(words)
    mask = torch.arange(words + 1)[None] < words
    return TextEmbeddings(torch.randn(1, words + 1, 8, generator=source), mask, torch.randn(1, 8, generator=source))


def test_the_key_of_videos_with_equal_frames_and_a_word_is_the_score_up_to_a_constant() -> None:
    text = says(1)
    frames = F.normalize(torch.randn(30, 1, 8), dim=-1).expand(-1, 3, -1)
    x = video_vectors(frames)
    s, g = word_frame(text.words, text.mask, frames).numpy(), sentence_cosines(text.sentence, x).numpy()
    scales = {"words": (float(s.mean()), float(s.std())), "sentence": (float(g.mean()), float(g.std()))}
    key = x.numpy() @ combined(unit_sentences([text]), mean_words([text]), scales, WEIGHTS)[0]
    score = fuse({"words": s, "sentence": g}, WEIGHTS)[0]
    assert key - key.mean() == pytest.approx(score, abs=1e-4)


def test_the_mean_of_words_leaves_padding_out() -> None:
    text = says(3)
    assert mean_words([text])[0] == pytest.approx(F.normalize(text.words[0, :3], dim=-1).mean(dim=0).numpy(), abs=1e-6)


def test_a_sentence_without_words_has_a_mean_of_zero() -> None:
    text = TextEmbeddings(torch.ones(1, 2, 3), torch.zeros(1, 2, dtype=torch.bool), torch.ones(1, 3))
    assert mean_words([text]).tolist() == [[0.0, 0.0, 0.0]]


@pytest.mark.parametrize(
    "names",
    [("words", "sentence"), ("words", "sentence", "task_prior"), ("sentence", "task_prior"), ("sentence",)],
)
def test_with_the_scales_of_all_videos_the_score_is_that_of_exact_ranking(names: tuple[str, ...]) -> None:
    matrices = {name: np.random.default_rng(len(name)).standard_normal((1, 20)).astype(np.float32) for name in names}
    scales = {name: (float(row.mean()), float(row.std())) for name, row in matrices.items()}
    assert fused(matrices, WEIGHTS, scales) == pytest.approx(fuse(matrices, WEIGHTS), abs=1e-5)
