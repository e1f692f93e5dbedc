import pytest
import torch
from tiny import noise
from torch import Tensor
from torch.nn import functional as F

from structalign.model.video_text import TextEmbeddings
from structalign.search import familiarity as rule
from structalign.search.familiarity import familiarity, observe


def captions(vectors: Tensor) -> TextEmbeddings:
    """Captions of one word each."""
    return TextEmbeddings(vectors[:, None], torch.ones(len(vectors), 1, dtype=torch.bool), vectors)


def test_a_caption_is_only_compared_with_those_of_other_videos() -> None:
    same = noise(1, 8).expand(2, 8)
    assert observe(captions(same), torch.tensor([0, 0]))["nearest"].tolist() == [-1, -1]
    assert observe(captions(same), torch.tensor([0, 1]))["nearest"].tolist() == pytest.approx([1, 1])


def test_training_captions_are_familiar_and_their_opposites_are_not() -> None:
    said = F.normalize(noise(1, 16) + 0.3 * noise(50, 16, seed=1), dim=-1)
    known = familiarity([observe(captions(said), torch.arange(50))])
    assert known is not None
    assert (known.of(captions(said)) >= known.line).all()
    assert (known.of(captions(-said)) < known.line).all()


def test_a_twentieth_of_the_training_captions_is_below_the_threshold() -> None:
    parts = [observe(captions(noise(100, 8, seed=seed)), torch.arange(100)) for seed in range(2)]
    known = familiarity(parts)
    assert known is not None
    assert sum(int((part["nearest"] < known.line).sum()) for part in parts) == 10


def test_without_captions_there_is_no_threshold() -> None:
    assert familiarity([]) is None


def test_only_a_sample_of_many_captions_is_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rule, "KEPT", 10)
    monkeypatch.setattr(rule, "CHUNK", 3)
    kept = observe(captions(noise(35, 8)), torch.arange(35))
    assert len(kept["vectors"]) == len(kept["nearest"]) == 9
