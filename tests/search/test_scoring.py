"""From captions to named matrices: tiles, systems, and one encoding for each task."""

import pytest
import torch
from tiny import CPU, FRAMES, noise, shaken, tiny_model, tokens
from torch import Tensor
from torch.nn.functional import normalize

from structalign.model.video_text import TextEmbeddings
from structalign.search import scoring
from structalign.search.encoder import Encoder
from structalign.search.index import Gallery
from structalign.search.scoring import score, score_in_blocks, score_queries, side_by_side
from structalign.search.signal import Comparison, observe, states
from structalign.search.similarity_heads import HEADS

DIM = 24


def gallery(number: int, videos: int = 3) -> Gallery:
    frames, zero_shot = (normalize(noise(videos, FRAMES, DIM, seed=10 * number + i), dim=-1) for i in (0, 1))
    rows = [{"id": f"{number}-{v}", "times": [0] * FRAMES} for v in range(videos)]
    return Gallery(f"t{number:02d}", number, number, rows, frames, zero_shot)


@pytest.fixture
def encoder() -> Encoder:
    model = shaken(tiny_model(tasks=2))
    return Encoder(model.clip, model, HEADS["fused"], CPU)


CAPTIONS = tokens([1, 2], [3], [4, 5, 6], [7, 8])


def test_small_tiles_give_the_scores_of_one_tile(monkeypatch: pytest.MonkeyPatch) -> None:
    mask = torch.tensor([[True, True, False], [True, False, False], [True, True, True]])
    text = TextEmbeddings(noise(3, 3, 6), mask, noise(3, 6))
    comparison = Comparison(text, text, noise(2, 4, 6, seed=1))
    whole = score(comparison, {})["words"]
    monkeypatch.setattr(scoring, "QUERIES", 2)
    monkeypatch.setattr(scoring, "VECTORS", 4)
    torch.testing.assert_close(score(comparison, {})["words"], whole)


def test_blocks_of_columns_stand_side_by_side() -> None:
    joined = side_by_side([{"words": torch.zeros(2, 1)}, {"words": torch.ones(2, 3)}])["words"]
    assert joined.tolist() == [[0, 1, 1, 1]] * 2


def columns(encoder: Encoder, name: str, encoded_as: int) -> Tensor:
    """The matrix of one signal, with captions encoded as the same task for both galleries."""
    with torch.inference_mode():
        text, zero_shot = encoder.captions(CAPTIONS, encoded_as), encoder.zero_shot(CAPTIONS)
        return torch.cat([score(Comparison(text, zero_shot, gallery(n).frames), {})[name] for n in (1, 2)], dim=1)


def test_encoding_captions_in_parts_gives_the_scores_of_all_at_once(
    encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = tokens(*[[1 + q % 30] * (1 + q % 5) for q in range(150)])
    galleries = [gallery(1), gallery(2)]
    with torch.inference_mode():
        whole = score_queries(encoder, many, galleries, {}, "score")
        monkeypatch.setattr(scoring, "PAIRS", 1)
        parts = score_queries(encoder, many, galleries, {}, "score")
    for name, matrix in whole.items():
        assert torch.equal(parts[name], matrix), name


def test_blocks_of_any_size_have_every_caption_once(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    many, galleries = tokens(*[[1 + q % 30] * (1 + q % 5) for q in range(600)]), [gallery(1), gallery(2)]
    monkeypatch.setattr(scoring, "PAIRS", 2 * 3 * scoring.QUERIES)
    with torch.inference_mode():
        whole = score_queries(encoder, many, galleries, {}, "score")
        blocks = score_in_blocks(encoder, many, ["t01"] * 600, galleries, {}, "score", 4 * scoring.QUERIES)
        parts = [matrices for matrices, _ in blocks]
    assert [len(part["best_frame"]) for part in parts] == [256, 256, 88]
    for name, matrix in whole.items():
        assert torch.equal(torch.cat([part[name] for part in parts]), matrix), name


@pytest.mark.parametrize("name", ["words", "sentence"])
def test_a_tasks_videos_are_scored_by_captions_encoded_as_that_task(encoder: Encoder, name: str) -> None:
    with torch.inference_mode():
        found = score_queries(encoder, CAPTIONS, [gallery(1), gallery(2)], {}, "score")[f"method.{name}"]
    assert torch.equal(found[:, :3], columns(encoder, name, 1)[:, :3])
    assert torch.equal(found[:, 3:], columns(encoder, name, 2)[:, 3:])
    assert not torch.allclose(found[:, 3:], columns(encoder, name, 1)[:, 3:])


def test_zero_shot_clip_scores_its_own_stored_videos(encoder: Encoder) -> None:
    with torch.inference_mode():
        found = score_queries(encoder, CAPTIONS, [gallery(1)], {}, "score")
        text = encoder.zero_shot(CAPTIONS)
        plain = score(Comparison(text, text, gallery(1).zero_shot), {})
    for name in ("words", "sentence"):
        assert torch.equal(found[f"zero_shot.{name}"], plain[name])


@pytest.mark.parametrize("name", ["task_prior", "word_prior"])
def test_a_prior_over_tasks_does_not_depend_on_the_adapters(encoder: Encoder, name: str) -> None:
    plain = Encoder(tiny_model().clip, None, HEADS["fused"], CPU)
    found = []
    for one in (encoder, plain):
        with torch.inference_mode():
            zero_shot = one.zero_shot(CAPTIONS)
            observed = [
                observe(zero_shot[:2], torch.tensor([0, 1]), 1),
                observe(zero_shot[2:], torch.tensor([2, 3]), 2),
            ]
            found.append(score_queries(one, CAPTIONS, [gallery(1), gallery(2)], states(observed), "score")[name])
    torch.testing.assert_close(found[0], found[1])
    assert found[0].shape == (4, 6)


@pytest.mark.parametrize("name", ["task_prior", "word_prior"])
def test_captions_without_a_known_word_prefer_no_task(encoder: Encoder, name: str) -> None:
    asked = tokens([30], [1, 30], [31, 32, 33])
    with torch.inference_mode():
        known = encoder.zero_shot(CAPTIONS)
        observed = [observe(known[:2], torch.tensor([0, 1]), 1), observe(known[2:], torch.tensor([2, 3]), 2)]
        found = score_queries(encoder, asked, [gallery(1), gallery(2)], states(observed), "score")[name]
    uniform = torch.tensor(0.5).log()
    assert (found[[0, 2]] == uniform).all()
    assert (found[1] != uniform).all()
