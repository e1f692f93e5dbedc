import math
from dataclasses import replace

import pytest
import torch
from tiny import DIM, fresh_memory, noise
from torch import Tensor

from structalign.learning.memory import Memory, draw_pseudo, prototype, remember, shrunk


def slow_prototype(samples: Tensor) -> tuple[list[float], float]:
    """Mean and sqrt of the mean over dimensions of the variance with ddof 1."""
    n, dim = samples.shape
    mean = [sum(float(x[k]) for x in samples) / n for k in range(dim)]
    trace = sum((float(x[k]) - mean[k]) ** 2 for x in samples for k in range(dim)) / (n - 1)
    return mean, math.sqrt(trace / dim)


def test_a_prototypes_mean_equals_a_loop() -> None:
    samples = noise(5, 6)
    assert prototype(samples)[0].tolist() == pytest.approx(slow_prototype(samples)[0], abs=1e-6)


def test_a_prototypes_radius_equals_a_loop() -> None:
    samples = noise(5, 6)
    assert float(prototype(samples)[1]) == pytest.approx(slow_prototype(samples)[1], abs=1e-6)


def test_one_sample_has_no_radius() -> None:
    assert float(prototype(noise(1, 6))[1]) == 0.0


def test_one_sample_is_its_own_mean() -> None:
    assert torch.equal(prototype(noise(1, 6))[0], noise(1, 6)[0])


def filled() -> Memory:
    """Three learned categories with radii 0.1, 0.2, 0.3 for text and 1, 2, 3 for video."""
    radius = torch.tensor([0.1, 0.2, 0.3])
    return replace(
        fresh_memory(),
        text_mean=noise(3, DIM),
        text_radius=radius,
        text_count=torch.tensor([5, 5, 5]),
        video_mean=noise(3, DIM, seed=1),
        video_radius=radius * 10,
        video_count=torch.tensor([5, 5, 5]),
    )


def source(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_old_categories_are_drawn_alike() -> None:
    _, _, category = draw_pseudo(filled(), 6000, source())
    assert torch.bincount(category, minlength=3).tolist() == pytest.approx([2000] * 3, abs=150)


@pytest.mark.parametrize("c", range(3))
def test_drawn_texts_scatter_around_their_mean(c: int) -> None:
    memory = filled()
    text, _, category = draw_pseudo(memory, 6000, source())
    torch.testing.assert_close(text[category == c].mean(dim=0), memory.text_mean[c], rtol=0, atol=0.05)


@pytest.mark.parametrize("c", range(3))
def test_drawn_texts_have_the_radius_of_their_category(c: int) -> None:
    memory = filled()
    text, _, category = draw_pseudo(memory, 6000, source())
    spread = float((text[category == c] - memory.text_mean[c]).std())
    assert spread == pytest.approx(float(memory.text_radius[c]), rel=0.03)


@pytest.mark.parametrize("c", range(3))
def test_drawn_videos_have_the_radius_of_their_category(c: int) -> None:
    memory = filled()
    _, video, category = draw_pseudo(memory, 6000, source())
    spread = float((video[category == c] - memory.video_mean[c]).std())
    assert spread == pytest.approx(float(memory.video_radius[c]), rel=0.03)


def test_text_and_video_get_independent_noise() -> None:
    memory = filled()
    text, video, category = draw_pseudo(memory, 3000, source())
    a = (text - memory.text_mean[category]).flatten()
    b = (video - memory.video_mean[category]).flatten()
    assert abs(float(torch.corrcoef(torch.stack([a, b]))[0, 1])) < 0.03


def test_equal_seeds_draw_equal_pairs() -> None:
    assert torch.equal(draw_pseudo(filled(), 5, source(1))[0], draw_pseudo(filled(), 5, source(1))[0])


TEXT, VIDEO = noise(6, DIM) * 3, noise(4, DIM, seed=1) * 3
TEXT_CATEGORY, VIDEO_CATEGORY = torch.tensor([3, 4, 3, 4, 3, 4]), torch.tensor([3, 4, 4, 3])


def remembered() -> Memory:
    return remember(filled(), TEXT, TEXT_CATEGORY, VIDEO, VIDEO_CATEGORY, 2)


def test_remembering_appends_the_new_categories() -> None:
    assert remembered().learned == 5


def test_remembering_does_not_change_older_categories() -> None:
    assert torch.equal(remembered().text_mean[:3], filled().text_mean)


def test_vertices_are_never_made_again() -> None:
    assert torch.equal(remembered().vertices, fresh_memory().vertices)


@pytest.mark.parametrize("c", [3, 4])
def test_a_text_is_remembered_as_a_unit_vector(c: int) -> None:
    units = torch.stack([x / math.sqrt(sum(float(k) ** 2 for k in x)) for x in TEXT[c == TEXT_CATEGORY]])
    assert remembered().text_mean[c].tolist() == pytest.approx(slow_prototype(units)[0], abs=1e-6)


@pytest.mark.parametrize("c", [3, 4])
def test_a_video_category_is_remembered_with_its_radius(c: int) -> None:
    units = torch.stack([x / math.sqrt(sum(float(k) ** 2 for k in x)) for x in VIDEO[c == VIDEO_CATEGORY]])
    assert float(remembered().video_radius[c]) == pytest.approx(slow_prototype(units)[1], abs=1e-6)


def test_a_memory_counts_the_samples_behind_each_mean() -> None:
    assert remembered().text_count[3:].tolist() == [3, 3]
    assert remembered().video_count[3:].tolist() == [2, 2]


# --- shrunk radii ---

RADIUS, COUNT = torch.tensor([1.0, 0.0, 2.0]), torch.tensor([5, 1, 13])
POOLED = (4 * 1 + 0 + 12 * 4) / 16  # of the squares


def test_one_sample_takes_the_pooled_radius() -> None:
    assert float(shrunk(RADIUS, COUNT)[1] ** 2) == pytest.approx(POOLED)


def test_the_radius_of_five_samples_is_half_pooled() -> None:
    assert float(shrunk(RADIUS, COUNT)[0] ** 2) == pytest.approx((1 + POOLED) / 2)


def test_many_samples_keep_their_radius() -> None:
    found = shrunk(torch.tensor([1.0, 3.0]), torch.tensor([10**6, 5]))
    assert float(found[0]) == pytest.approx(1, abs=1e-4)


def test_equal_radii_are_not_shrunk() -> None:
    torch.testing.assert_close(shrunk(torch.full((3,), 0.3), torch.tensor([2, 9, 40])), torch.full((3,), 0.3))


def test_categories_of_one_sample_each_have_no_radius() -> None:
    assert shrunk(torch.zeros(2), torch.ones(2, dtype=torch.int64)).tolist() == [0, 0]


def test_shrunk_pairs_scatter_by_the_shrunk_radius() -> None:
    memory = replace(filled(), text_radius=torch.tensor([0.0, 1.0, 1.0]), text_count=torch.tensor([1, 9, 9]))
    text, _, category = draw_pseudo(memory, 6000, source(), "shrunk")
    assert float((text[category == 0] - memory.text_mean[0]).std()) == pytest.approx(1, rel=0.03)
