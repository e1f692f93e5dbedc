import pytest
import torch
from tiny import noise
from torch import Tensor, nn
from torch.nn import functional as F

from structalign.model import pooling
from structalign.model.pooling import TextPool

DIM = 6


def pool(seed: int = 0) -> TextPool:
    """Every parameter at random."""
    made = TextPool(DIM).eval()
    with torch.no_grad():
        for number, p in enumerate(made.parameters()):
            p.add_(noise(*p.shape, seed=seed + number) * 0.3)
    return made


def norm(layer: nn.LayerNorm, x: Tensor) -> Tensor:
    return (x - x.mean()) / (x.var(correction=0) + layer.eps).sqrt() * layer.weight + layer.bias


def line(layer: nn.Linear, x: Tensor) -> Tensor:
    return layer.weight @ x + layer.bias


@torch.no_grad()
def slow(made: TextPool, sentence: Tensor, frames: Tensor) -> Tensor:
    """One pair, frame by frame."""
    query = line(made.q_proj, norm(made.norm_in, sentence))
    seen = [norm(made.norm_in, frame / frame.norm()) for frame in frames]
    scores = torch.stack([query @ line(made.k_proj, frame) / DIM**0.5 for frame in seen]).softmax(dim=0)
    mixed = torch.stack([w * line(made.v_proj, frame) for w, frame in zip(scores, seen, strict=True)]).sum(dim=0)
    r = norm(made.norm_attended, line(made.out_proj, mixed))
    return norm(made.norm_out, r + line(made.fc, r))


@torch.no_grad()
def test_a_sentence_pools_frames_by_attention() -> None:
    made, sentences, frames = pool(), noise(2, DIM), noise(3, 4, DIM, seed=1)
    found = made(sentences, frames)
    for q in range(2):
        for v in range(3):
            torch.testing.assert_close(found[q, v], slow(made, sentences[q], frames[v]), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_the_similarity_is_the_cosine_to_the_pooled_video(monkeypatch: pytest.MonkeyPatch) -> None:
    made, sentences, frames = pool(), noise(5, DIM), noise(3, 4, DIM, seed=1)
    expected = F.cosine_similarity(sentences[:, None], made(sentences, frames), dim=2)
    torch.testing.assert_close(made.similarity(sentences, frames), expected)
    monkeypatch.setattr(pooling, "BLOCK", 1)
    torch.testing.assert_close(made.similarity(sentences, frames), expected)


@torch.no_grad()
def test_a_stored_video_scores_as_the_raw_one() -> None:
    made, sentences, frames = pool(), noise(2, DIM), 30 * noise(3, 4, DIM, seed=1)
    torch.testing.assert_close(
        made.similarity(sentences, F.normalize(frames, dim=-1)), made.similarity(sentences, frames)
    )
