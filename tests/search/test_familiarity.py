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


def test_a_sentence_is_weak_if_unlike_all_captions_and_all_videos() -> None:
    said = F.normalize(noise(1, 16) + 0.3 * noise(50, 16, seed=1), dim=-1)
    observed = [observe(captions(said), torch.arange(50))]
    videos = F.normalize(said + 0.1 * noise(50, 16, seed=2), dim=-1)
    known, shown = familiarity(observed, videos), familiarity(observed, torch.cat([videos, -said]))
    assert known is not None
    assert shown is not None
    assert not known.weak(captions(said)).any()
    assert known.weak(captions(-said)).all()
    assert not shown.weak(captions(-said)).any()  # no caption says it, but a video shows it
    assert not known.weak(TextEmbeddings(said[:, None], torch.ones(50, 1, dtype=torch.bool), -said)).any()


def test_a_hundredth_of_the_training_captions_is_less_familiar() -> None:
    parts = [observe(captions(noise(100, 8, seed=seed)), torch.arange(100)) for seed in range(2)]
    known = familiarity(parts, noise(5, 8))
    assert known is not None
    assert sum(int((part["nearest"] < known.line).sum()) for part in parts) == 2


def test_two_thirds_of_the_training_captions_match_the_videos_worse() -> None:
    videos = F.normalize(noise(9, 8, seed=2), dim=-1)
    said = F.normalize(noise(200, 8), dim=-1)
    known = familiarity([observe(captions(said), torch.arange(200))], videos)
    assert known is not None
    assert int(((said @ videos.T).amax(dim=1) < known.match_line).sum()) == 130


def test_without_captions_or_videos_there_is_no_threshold() -> None:
    assert familiarity([], noise(5, 8)) is None
    assert familiarity([observe(captions(noise(5, 8)), torch.arange(5))], noise(5, 8)[:0]) is None


def test_only_a_sample_of_many_captions_is_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("KEPT", 10), ("MATCHED", 6), ("CHUNK", 3)):
        monkeypatch.setattr(rule, name, value)
    kept = observe(captions(noise(35, 8)), torch.arange(35))
    assert len(kept["vectors"]) == len(kept["nearest"]) == 9
    assert len(kept["sentences"]) == 6
