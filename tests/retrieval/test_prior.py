"""The task prior: statistics that add up, their shrunk covariance, and the classifier they give."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import noise
from torch import Tensor
from torch.nn.functional import normalize

from structalign.model.video_text import TextEmbeddings
from structalign.retrieval.prior import Moments, joined, ledoit_wolf, moments, of_task, remembered, task_prior

DIM = 6


def memory(found: Moments) -> dict[str, Tensor]:
    return {f"caption_{name}": value for name, value in vars(found).items()}


def two_tasks(seed: int = 0) -> tuple[Moments, Moments, Tensor, Tensor]:
    """The moments of two tasks of two and three categories; all their captions and categories."""
    vectors, category = normalize(noise(40, DIM, seed=seed), dim=-1), torch.arange(40) % 5
    old, new = category < 2, category >= 2
    first, second = moments(vectors[old], category[old], 1), moments(vectors[new], category[new] - 2, 2)
    return first, second, vectors, category


def spoken(vectors: Tensor) -> TextEmbeddings:
    """Captions of one word each."""
    return TextEmbeddings(vectors[:, None], torch.ones(len(vectors), 1, dtype=torch.bool), vectors)


@given(st.integers(0, 99))
def test_tasks_that_arrive_one_after_the_other_leave_what_all_captions_at_once_would(seed: int) -> None:
    first, second, vectors, category = two_tasks(seed)
    found, whole = joined(first, second), moments(vectors, category, 1)
    for name in ("mean", "count", "scatter", "fourth"):
        torch.testing.assert_close(getattr(found, name), getattr(whole, name))


def test_an_old_tasks_statistics_stay_when_a_new_one_comes() -> None:
    first, second, _, _ = two_tasks()
    assert torch.equal(joined(first, second).mean[:2], first.mean)


def test_the_covariance_is_that_of_ledoit_and_wolf_by_loops() -> None:
    first, second, vectors, category = two_tasks()
    found, n = joined(first, second), len(vectors)
    rest = [x - vectors[category == c].mean(dim=0) for x, c in zip(vectors, category, strict=True)]
    free = n - 5  # a mean a category was taken off
    sample = torch.stack([torch.outer(r, r) for r in rest]).sum(dim=0) / free
    target = sample.trace() / DIM * torch.eye(DIM)
    distance = ((sample - target) ** 2).sum()
    noise_of = (n / free**2 * sum(float(r @ r) ** 2 for r in rest) - float((sample**2).sum())) / free
    share = min(1.0, float(noise_of / distance))
    expected = share * target + (1 - share) * sample
    torch.testing.assert_close(ledoit_wolf(found.scatter, found.fourth, n, 5).float(), expected, rtol=1e-4, atol=1e-6)
    assert 0 < share < 1


def test_the_probability_of_a_task_is_that_of_gaussians_by_loops() -> None:
    first, second, vectors, _ = two_tasks()
    found = joined(first, second)
    precision = torch.linalg.inv(ledoit_wolf(found.scatter, found.fourth, len(vectors), 5))
    prior = task_prior(memory(found))
    assert prior is not None
    for x, logs in zip(vectors[:5], prior.log(spoken(vectors[:5])), strict=True):
        density = [math.exp(-0.5 * float((x - m).double() @ precision @ (x - m).double())) for m in found.mean]
        shares = [sum(density[:2]) / sum(density), sum(density[2:]) / sum(density)]
        assert logs.exp().tolist() == pytest.approx(shares, rel=1e-4)


def test_captions_that_lie_by_task_are_told_apart() -> None:
    centres = torch.eye(4, DIM)
    category = torch.arange(400) % 4
    vectors = normalize(centres[category] + 0.2 * noise(400, DIM), dim=-1)
    found = joined(moments(vectors[category < 2], category[category < 2], 1),
                   moments(vectors[category >= 2], category[category >= 2] - 2, 2))  # fmt: skip
    prior = task_prior(memory(found))
    assert prior is not None
    asked = spoken(centres + 0.2 * noise(4, DIM, seed=1))
    assert prior.log(asked).argmax(dim=1).tolist() == [0, 0, 1, 1]


def test_one_task_is_certain() -> None:
    prior = task_prior(memory(two_tasks()[0]))
    assert prior is not None
    torch.testing.assert_close(prior.log(spoken(noise(3, DIM))), torch.zeros(3, 1))


@given(st.integers(0, 20))
def test_two_captions_a_category_give_on_average_the_covariance_of_many(seed: int) -> None:
    """The spread around a mean of two is half of the true one: one degree of freedom a category is spent."""
    vectors, category = noise(4000, DIM, seed=seed), torch.arange(4000) // 2
    found = moments(vectors, category, 1)
    covariance = ledoit_wolf(found.scatter, found.fourth, 4000, 2000)
    torch.testing.assert_close(covariance.float(), torch.eye(DIM), rtol=0, atol=0.15)


def test_categories_of_one_repeated_caption_still_tell_tasks_apart() -> None:
    captions = torch.eye(2, DIM).repeat_interleave(3, dim=0)
    found = joined(moments(captions[:3], torch.zeros(3, dtype=torch.int64), 1),
                   moments(captions[3:], torch.zeros(3, dtype=torch.int64), 2))  # fmt: skip
    prior = task_prior(memory(found))
    assert prior is not None
    logs = prior.log(spoken(torch.eye(2, DIM)))
    assert logs.min() > -DIM - 1  # no certainty that would drown the similarities
    assert logs.argmax(dim=1).tolist() == [0, 1]


def test_a_memory_without_captions_gives_no_prior() -> None:
    assert task_prior({"vertices": noise(3, DIM)}) is None
    assert of_task(None, 1, 4) == {}


def test_a_tasks_videos_share_its_column() -> None:
    logs = torch.tensor([[-1.0, -2.0], [-3.0, -4.0]])
    assert of_task(logs, 2, 3)["task_prior"].tolist() == [[-2.0] * 3, [-4.0] * 3]


def test_what_is_remembered_comes_back_as_it_was() -> None:
    found = two_tasks()[0]
    back = remembered(memory(found))
    assert back is not None
    assert all(torch.equal(getattr(back, name), value) for name, value in vars(found).items())
