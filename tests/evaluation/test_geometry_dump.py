from pathlib import Path

import pytest
import torch
from safetensors.numpy import load_file
from tiny import noise

from structalign.evaluation.geometry_dump import collapse, write_prototypes
from structalign.learning.etf import simplex_etf
from structalign.model.video_text import TextEmbeddings
from structalign.search.similarity import caption_vectors, video_vectors


def unit(x: torch.Tensor) -> torch.Tensor:
    return torch.div(x, torch.linalg.vector_norm(x))


def test_a_captions_vector_is_the_mean_of_its_words_directions() -> None:
    words, mask = noise(2, 3, 4), torch.tensor([[True, True, False], [False, True, False]])
    found = caption_vectors(TextEmbeddings(words, mask, noise(2, 4)))
    torch.testing.assert_close(found[0], unit(unit(words[0, 0]) + unit(words[0, 1])))
    torch.testing.assert_close(found[1], unit(words[1, 1]))


def test_a_videos_vector_is_the_mean_of_its_frames_directions() -> None:
    frames = noise(1, 2, 4)
    torch.testing.assert_close(video_vectors(frames)[0], unit(unit(frames[0, 0]) + unit(frames[0, 1])))


def test_categories_with_both_captions_and_videos_are_stored(tmp_path: Path) -> None:
    text, video = noise(3, 4), noise(3, 4, seed=1)
    write_prototypes(tmp_path / "p", text, torch.tensor([5, 2, 5]), video, torch.tensor([2, 5, 7]))
    found = load_file(tmp_path / "p")
    assert found["category"].tolist() == [2, 5]
    assert found["text"][1].tolist() == pytest.approx(((text[0] + text[2]) / 2).tolist())
    assert found["video"][0].tolist() == pytest.approx(video[0].tolist())


def test_collapse_is_measured_after_the_head_on_the_categories_vertices() -> None:
    """Vectors whose image is 3 e_c, of categories 4 and 1 of a simplex of six."""
    head, vertices = torch.nn.Linear(8, 8, bias=False), simplex_etf(8, 6, seed=0)
    torch.nn.init.orthogonal_(head.weight)
    category = torch.tensor([4, 1, 4])
    found = collapse(3 * vertices[category] @ head.weight.detach(), category, head, vertices)
    assert found is not None
    assert list(found.values()) == pytest.approx([0] * 5, abs=1e-5)


def test_a_change_of_the_last_bits_does_not_change_the_stored_collapse() -> None:
    head, vertices = torch.nn.Identity(), simplex_etf(8, 6, seed=0)
    vectors, category = noise(300, 8), torch.arange(6).repeat(50)
    order = torch.randperm(300, generator=torch.Generator().manual_seed(0))  # the same samples, added in another order
    assert collapse(vectors, category, head, vertices) == collapse(vectors[order], category[order], head, vertices)
