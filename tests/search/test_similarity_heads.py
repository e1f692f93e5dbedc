import pytest
import torch
from tiny import noise
from torch import Tensor

from structalign.model.video_text import TextEmbeddings
from structalign.search.scoring import score
from structalign.search.signal import Comparison, prepared
from structalign.search.similarity import word_frame
from structalign.search.similarity_heads import HEADS

FRAMES, SENTENCES = noise(3, 4, 6), noise(2, 6, seed=1)


def unit(x: Tensor) -> Tensor:
    return torch.div(x, torch.linalg.vector_norm(x))


@pytest.mark.parametrize("name", ["fused", "mean", "raw_mean"])
def test_a_stored_video_scores_as_the_raw_one(name: str) -> None:
    comparison = HEADS[name]
    stored = comparison.store(FRAMES)
    torch.testing.assert_close(
        comparison.sentence(None, SENTENCES, stored), comparison.sentence(None, SENTENCES, FRAMES)
    )


@pytest.mark.parametrize(("name", "vectors"), [("fused", 4), ("mean", 1), ("raw_mean", 1), ("pooled", 4)])
def test_stored_vectors_are_unit_vectors(name: str, vectors: int) -> None:
    stored = HEADS[name].store(FRAMES)
    assert stored.shape == (3, vectors, 6)
    torch.testing.assert_close(stored.norm(dim=2), torch.ones(3, vectors))


def test_stablefusion_takes_the_mean_of_raw_frames_and_clip4clip_of_their_directions() -> None:
    for v, frames in enumerate(FRAMES):
        for q, sentence in enumerate(SENTENCES):
            raw = unit(sentence) @ unit(sum(frames, torch.zeros(6)))
            mean = unit(sentence) @ unit(sum((unit(frame) for frame in frames), torch.zeros(6)))
            torch.testing.assert_close(HEADS["raw_mean"].sentence(None, SENTENCES, FRAMES)[q, v], raw)
            torch.testing.assert_close(HEADS["mean"].sentence(None, SENTENCES, FRAMES)[q, v], mean)


@pytest.mark.parametrize("name", ["fused", "mean", "raw_mean"])
def test_prepared_videos_score_as_stored_ones_to_the_bit(name: str) -> None:
    head = HEADS[name]
    videos = head.store(noise(1000, 12, 24))  # of 12 vectors each: two tiles
    text = TextEmbeddings(noise(2, 3, 24), torch.ones(2, 3, dtype=torch.bool), noise(2, 24))
    ready, vectors = prepared(videos, head)
    found = score(Comparison(text, text, ready, head, vectors=vectors), {})
    for signal, matrix in score(Comparison(text, text, videos, head), {}).items():
        assert torch.equal(found[signal], matrix), signal


def test_word_similarity_is_trained_if_it_ranks() -> None:
    text = TextEmbeddings(noise(2, 3, 6), torch.ones(2, 3, dtype=torch.bool), SENTENCES)
    (words,) = HEADS["fused"].trained(None, text, FRAMES, both=False)
    torch.testing.assert_close(words, word_frame(text.words, text.mask, FRAMES))
    assert len(HEADS["fused"].trained(None, text, FRAMES, both=True)) == 2
    assert len(HEADS["mean"].trained(None, text, FRAMES, both=True)) == 1
