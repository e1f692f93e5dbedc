"""The task prior: additive statistics, their shrunk covariance, and the classifier that they give."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import noise
from torch import Tensor
from torch.nn.functional import normalize

from structalign.model.video_text import TextEmbeddings
from structalign.search.priors import score
from structalign.search.signal import Comparison, Statistics
from structalign.search.signals.task_prior import Moments, TaskPrior, ledoit_wolf, moments, observe, state

DIM = 6
KNOWN, UNKNOWN = 5, 6
IDS = torch.tensor([[9, 4, -1], [2, 9, 4]])


def prior_of(*parts: Moments) -> TaskPrior:
    found = state([vars(part) | {"words": torch.tensor([KNOWN])} for part in parts])
    assert found is not None
    return found


def two_tasks(seed: int = 0) -> tuple[Moments, Moments, Tensor, Tensor]:
    """The moments of two tasks of two and three categories; all their captions and categories."""
    vectors, category = normalize(noise(40, DIM, seed=seed), dim=-1), torch.arange(40) % 5
    old, new = category < 2, category >= 2
    first, second = moments(vectors[old], category[old], 1), moments(vectors[new], category[new], 2)
    return first, second, vectors, category


def spoken(vectors: Tensor, word: int = KNOWN) -> TextEmbeddings:
    """Captions of one word each, with the same token id."""
    mask = torch.ones(len(vectors), 1, dtype=torch.bool)
    return TextEmbeddings(vectors[:, None], mask, vectors, torch.full((len(vectors), 1), word))


@given(st.integers(0, 99))
@settings(deadline=None)
def test_statistics_of_sequential_tasks_give_the_prior_of_all_captions_at_once(seed: int) -> None:
    first, second, vectors, category = two_tasks(seed)
    apart, whole = prior_of(first, second), prior_of(moments(vectors, category, 1))
    torch.testing.assert_close(apart.weight, whole.weight, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(apart.bias, whole.bias, rtol=1e-4, atol=1e-4)


def test_the_covariance_is_that_of_ledoit_and_wolf_by_loops() -> None:
    first, second, vectors, category = two_tasks()
    n = len(vectors)
    scatter, fourth = first.scatter + second.scatter, first.fourth + second.fourth
    rest = [x - vectors[category == c].mean(dim=0) for x, c in zip(vectors, category, strict=True)]
    free = n - 5  # a mean a category was taken off
    sample = torch.stack([torch.outer(r, r) for r in rest]).sum(dim=0) / free
    target = sample.trace() / DIM * torch.eye(DIM)
    distance = ((sample - target) ** 2).sum()
    noise_of = (n / free**2 * sum(float(r @ r) ** 2 for r in rest) - float((sample**2).sum())) / free
    share = min(1.0, float(noise_of / distance))
    expected = share * target + (1 - share) * sample
    torch.testing.assert_close(ledoit_wolf(scatter, fourth, n, 5).float(), expected, rtol=1e-4, atol=1e-6)
    assert 0 < share < 1


def test_the_probability_of_a_task_is_that_of_gaussians_by_loops() -> None:
    first, second, vectors, _ = two_tasks()
    covariance = ledoit_wolf(first.scatter + second.scatter, first.fourth + second.fourth, len(vectors), 5)
    precision, means, prior = (
        torch.linalg.inv(covariance),
        torch.cat([first.mean, second.mean]),
        prior_of(first, second),
    )
    for x, logs in zip(vectors[:5], prior.log(spoken(vectors[:5])), strict=True):
        density = [math.exp(-0.5 * float((x - m).double() @ precision @ (x - m).double())) for m in means]
        shares = [sum(density[:2]) / sum(density), sum(density[2:]) / sum(density)]
        assert logs.exp().tolist() == pytest.approx(shares, rel=1e-4)


def test_captions_in_separate_clusters_get_their_task() -> None:
    centres = torch.eye(4, DIM)
    category = torch.arange(400) % 4
    vectors = normalize(centres[category] + 0.2 * noise(400, DIM), dim=-1)
    prior = prior_of(moments(vectors[category < 2], category[category < 2], 1),
                     moments(vectors[category >= 2], category[category >= 2], 2))  # fmt: skip
    asked = spoken(centres + 0.2 * noise(4, DIM, seed=1))
    assert prior.log(asked).argmax(dim=1).tolist() == [0, 0, 1, 1]


def test_one_task_is_certain() -> None:
    prior = prior_of(two_tasks()[0])
    torch.testing.assert_close(prior.log(spoken(noise(3, DIM))), torch.zeros(3, 1))


@given(st.integers(0, 20))
@settings(deadline=None)
def test_two_captions_a_category_give_on_average_the_covariance_of_many(seed: int) -> None:
    """The variance around the mean of two samples is half of the true one: each category costs a degree of freedom."""
    vectors, category = noise(4000, DIM, seed=seed), torch.arange(4000) // 2
    found = moments(vectors, category, 1)
    covariance = ledoit_wolf(found.scatter, found.fourth, 4000, 2000)
    torch.testing.assert_close(covariance.float(), torch.eye(DIM), rtol=0, atol=0.15)


def test_categories_of_one_repeated_caption_still_separate_tasks() -> None:
    captions = torch.eye(2, DIM).repeat_interleave(3, dim=0)
    prior = prior_of(moments(captions[:3], torch.zeros(3, dtype=torch.int64), 1),
                     moments(captions[3:], torch.ones(3, dtype=torch.int64), 2))  # fmt: skip
    logs = prior.log(spoken(torch.eye(2, DIM)))
    assert logs.min() > -DIM - 1  # not so certain that it would dominate the similarities
    assert logs.argmax(dim=1).tolist() == [0, 1]


def test_before_the_first_task_there_is_no_prior() -> None:
    assert state([]) is None


def test_a_tasks_videos_share_its_column() -> None:
    first, second, vectors, _ = two_tasks()
    prior, asked = prior_of(first, second), spoken(vectors[:2])
    found = score(Comparison(asked, asked, noise(3, 1, DIM), number=2), prior)
    assert torch.equal(found, prior.log(asked)[:, 1:2].expand(2, 3))


def test_a_task_stores_the_moments_of_its_captions_as_unit_vectors() -> None:
    _, _, vectors, category = two_tasks()
    observed: Statistics = observe(spoken(3 * vectors), category, 1)
    torch.testing.assert_close(observed["mean"], moments(vectors, category, 1).mean)


def test_captions_without_a_known_word_get_the_uniform_distribution() -> None:
    first, second, vectors, _ = two_tasks()
    assert prior_of(first, second).log(spoken(vectors, UNKNOWN)).tolist() == [[pytest.approx(-math.log(2))] * 2] * 40
    assert prior_of(first).log(spoken(vectors, UNKNOWN)).tolist() == [[0.0]] * 40


def test_a_task_stores_the_words_of_its_captions_once_and_sorted() -> None:
    captions = TextEmbeddings(noise(2, 3, DIM), torch.ones(2, 3, dtype=torch.bool), noise(2, DIM), IDS)
    assert observe(captions, torch.tensor([0, 1]), 1)["words"].tolist() == [2, 4, 9]


def test_a_word_of_any_earlier_task_is_known() -> None:
    first, second, _, _ = two_tasks()
    parts = [vars(first) | {"words": torch.tensor([9])}, vars(second) | {"words": torch.tensor([2, 9])}]
    found = state(parts)
    assert found is not None
    assert found.known.tolist() == [2, 9]
