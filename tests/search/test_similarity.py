import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import noise
from torch import Tensor

from structalign.model.video_text import TextEmbeddings
from structalign.search.similarity import (
    best_frame,
    best_words,
    caption_vectors,
    cosines,
    sentence_video,
    word_frame,
)

lengths = st.lists(st.integers(1, 5), min_size=1, max_size=4)


def cosine(a: Tensor, b: Tensor) -> float:
    return float(a @ b) / float((a @ a) ** 0.5 * (b @ b) ** 0.5)


def masked(lengths: list[int]) -> Tensor:
    return torch.tensor([[i < length for i in range(5)] for length in lengths])


def slow_word_frame(words: Tensor, frames: Tensor) -> float:
    """One caption's real words and one video's frames."""
    cosines = [[cosine(word, frame) for frame in frames] for word in words]
    over_words = sum(max(row) for row in cosines) / len(words)
    over_frames = sum(max(row[n] for row in cosines) for n in range(len(frames))) / len(frames)
    return (over_words + over_frames) / 2


@given(lengths, st.integers(1, 4), st.integers(0, 99))
@settings(deadline=None, max_examples=30)
def test_word_frame_equals_a_double_loop(lengths: list[int], videos: int, seed: int) -> None:
    words, frames = noise(len(lengths), 5, 6, seed=seed), noise(videos, 3, 6, seed=seed + 1000)
    scores = word_frame(words, masked(lengths), frames)
    for q, length in enumerate(lengths):
        for v in range(videos):
            assert float(scores[q, v]) == pytest.approx(slow_word_frame(words[q, :length], frames[v]), abs=1e-5)


@given(lengths, st.integers(0, 99))
@settings(deadline=None, max_examples=30)
def test_padding_words_never_change_a_score(lengths: list[int], seed: int) -> None:
    # The padding equals the frame, so it would be the best possible word.
    words, frames, mask = noise(len(lengths), 5, 6, seed=seed), noise(2, 3, 6, seed=seed + 1000), masked(lengths)
    changed = torch.where(mask[..., None], words, frames[0, 0])
    torch.testing.assert_close(word_frame(words, mask, frames), word_frame(changed, mask, frames))


def test_padding_does_not_beat_a_negative_similarity() -> None:
    words = torch.tensor([[[-1.0, 0.0], [0.0, 0.0]]])
    score = word_frame(words, torch.tensor([[True, False]]), torch.tensor([[[1.0, 0.0]]]))
    assert float(score) == -1.0


def test_a_caption_without_words_has_score_zero() -> None:
    mask = torch.tensor([[True, True], [False, False]])
    assert word_frame(noise(2, 2, 4), mask, noise(3, 2, 4, seed=1))[1].tolist() == [0, 0, 0]


def test_the_norm_of_an_embedding_does_not_count() -> None:
    words, frames, mask = noise(2, 5, 6), noise(2, 3, 6, seed=1), masked([2, 4])
    torch.testing.assert_close(word_frame(words * 7, mask, frames * 0.1), word_frame(words, mask, frames))


@given(st.integers(1, 4), st.integers(1, 4), st.integers(0, 99))
@settings(deadline=None, max_examples=30)
def test_sentence_video_equals_a_double_loop(queries: int, videos: int, seed: int) -> None:
    sentences, frames = noise(queries, 6, seed=seed), noise(videos, 3, 6, seed=seed + 1000)
    scores = sentence_video(sentences, frames)
    for q in range(queries):
        for v in range(videos):
            mean = torch.stack([frame / (frame @ frame) ** 0.5 for frame in frames[v]]).mean(dim=0)
            assert float(scores[q, v]) == pytest.approx(cosine(sentences[q], mean), abs=1e-5)


@given(lengths, st.integers(1, 4), st.integers(0, 99))
@settings(deadline=None, max_examples=30)
def test_the_best_frame_has_the_largest_cosine_of_any_word(lengths: list[int], videos: int, seed: int) -> None:
    words, frames = noise(len(lengths), 5, 6, seed=seed), noise(videos, 3, 6, seed=seed + 1000)
    best = best_frame(best_words(cosines(words, masked(lengths), frames)))
    for q, length in enumerate(lengths):
        for v in range(videos):
            tops = [max(cosine(word, frame) for word in words[q, :length]) for frame in frames[v]]
            assert int(best[q, v]) == tops.index(max(tops))


def test_the_vector_of_a_caption_is_the_direction_of_its_unit_words() -> None:
    text = TextEmbeddings(noise(2, 3, 5), torch.tensor([[True, True, True], [True, False, False]]), noise(2, 5, seed=1))
    three = (text.words[0] / text.words[0].norm(dim=1, keepdim=True)).sum(dim=0)
    one = text.words[1, 0]
    assert torch.allclose(caption_vectors(text), torch.stack([three / three.norm(), one / one.norm()]))
    assert torch.allclose(caption_vectors(text, words=False), text.sentence / text.sentence.norm(dim=1, keepdim=True))
