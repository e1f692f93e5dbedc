import oracle
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from structalign.errors import UserError
from structalign.learning.etf import etf_head_init, gaussian_vertices, grow, random_head_init, simplex_etf

sizes = st.integers(2, 40).flatmap(lambda c: st.tuples(st.just(c), st.integers(c - 1, 60)))


def vertices(size: tuple[int, int], seed: int = 0) -> Tensor:
    categories, dim = size
    return simplex_etf(dim, categories, seed)


@given(sizes, st.integers(0, 99))
@settings(deadline=None, max_examples=40)
def test_vertices_meet_at_minus_one_over_c_minus_one(size: tuple[int, int], seed: int) -> None:
    cosine = vertices(size, seed) @ vertices(size, seed).T
    apart = cosine[~torch.eye(size[0], dtype=torch.bool)]
    assert float((apart + 1 / (size[0] - 1)).abs().max()) < 1e-6


@given(sizes)
@settings(deadline=None, max_examples=40)
def test_vertices_are_unit_vectors(size: tuple[int, int]) -> None:
    assert float((vertices(size).norm(dim=1) - 1).abs().max()) < 1e-6


@given(sizes)
@settings(deadline=None, max_examples=40)
def test_vertices_sum_to_zero(size: tuple[int, int]) -> None:
    assert float(vertices(size).sum(dim=0).abs().max()) < 1e-5


def test_the_largest_simplex_of_a_space_fits() -> None:
    assert simplex_etf(512, 513, 0).shape == (513, 512)


def test_a_space_that_is_too_small_is_refused_with_both_numbers() -> None:
    with pytest.raises(UserError, match=r"`etf.dim` = 8 .*not for 10.*to 9"):
        simplex_etf(8, 10, 0)


def test_one_category_is_refused() -> None:
    with pytest.raises(UserError, match="at least 2 categories, not 1"):
        simplex_etf(8, 1, 0)


def test_equal_seeds_give_equal_vertices() -> None:
    assert torch.equal(simplex_etf(16, 5, 3), simplex_etf(16, 5, 3))


def test_another_seed_rotates_the_simplex() -> None:
    assert not torch.allclose(simplex_etf(16, 5, 3), simplex_etf(16, 5, 4))


def test_the_head_starts_as_the_identity() -> None:
    assert torch.equal(etf_head_init(8, 8, 0), torch.eye(8))


@pytest.mark.parametrize(("dim", "embedding"), [(12, 8), (8, 12)])
def test_a_head_between_spaces_of_different_dimension_starts_orthonormal(dim: int, embedding: int) -> None:
    head = etf_head_init(dim, embedding, 0)
    small = head.T @ head if dim > embedding else head @ head.T
    torch.testing.assert_close(small, torch.eye(8))


# --- as released ---


@pytest.mark.parametrize(("dim", "categories"), [(8, 2), (8, 3), (5, 12), (512, 20)])
def test_gaussian_vertices_equal_their_formula(dim: int, categories: int) -> None:
    expected = oracle.gaussian_vertices(dim, categories).float()
    torch.testing.assert_close(gaussian_vertices(dim, categories, 0), expected, rtol=2e-5, atol=2e-6)


def test_gaussian_vertices_miss_the_simplex_as_measured() -> None:
    """d = 512, C = 20: -0.140..+0.053, where a simplex has -0.0526 everywhere."""
    vertices = gaussian_vertices(512, 20, 0)
    cosine = (vertices @ vertices.T)[~torch.eye(20, dtype=torch.bool)]
    assert (float(cosine.min()), float(cosine.max())) == pytest.approx((-0.140, 0.053), abs=5e-4)


def test_random_heads_are_two_different_default_linear_layers() -> None:
    text, video = (random_head_init(20, 64, 0, name) for name in ("weight", "video_weight"))
    assert not torch.equal(text, video)
    for head in (text, video):
        assert -1 / 8 <= float(head.min()) < -0.9 / 8
        assert 0.9 / 8 < float(head.max()) <= 1 / 8


# --- growth ---

growths = st.tuples(st.integers(3, 20), st.integers(0, 10), st.lists(st.integers(1, 5), min_size=1, max_size=6))


@given(growths, st.integers(0, 99))
@settings(deadline=None, max_examples=40)
def test_a_simplex_grown_in_any_steps_is_a_simplex(growth: tuple[int, int, list[int]], seed: int) -> None:
    categories, spare, steps = growth
    dim, source = categories - 1 + spare, torch.Generator().manual_seed(seed)
    grown, learned = simplex_etf(dim, categories, 0), 0
    for new in steps:
        new = min(new, categories - learned)
        if new:
            grown = grow(grown, learned, torch.randn(new, dim, generator=source), 0)
            learned += new
    cosine = grown[:learned] @ grown[:learned].T
    wanted = torch.full_like(cosine, -1 / (categories - 1)).fill_diagonal_(1)
    torch.testing.assert_close(cosine, wanted, atol=2e-6, rtol=0)


def test_growth_leaves_earlier_vertices_as_they_are() -> None:
    before = vertices((10, 12))
    after = grow(before, 3, torch.randn(2, 12, generator=torch.Generator().manual_seed(0)), 0)
    assert torch.equal(after[:3], before[:3])
    assert torch.equal(after[5:], before[5:])


def test_no_other_simplex_is_nearer_to_the_prototypes() -> None:
    source = torch.Generator().manual_seed(0)
    prototypes = torch.randn(3, 12, generator=source)
    best = (grow(vertices((10, 12)), 0, prototypes, 0)[:3] * prototypes).sum()
    assert all(float((vertices((10, 12), seed)[:3] * prototypes).sum()) < float(best) for seed in range(200))


def test_orthonormal_prototypes_are_nearly_vertices_of_a_large_simplex() -> None:
    prototypes = torch.eye(600)[:4]
    assert float((grow(vertices((601, 600)), 0, prototypes, 0)[:4] * prototypes).sum(dim=1).min()) > 0.99


@pytest.mark.parametrize("prototypes", [torch.zeros(2, 12), torch.ones(2, 12)], ids=["zero", "equal"])
def test_prototypes_without_a_direction_of_their_own_still_grow_a_simplex(prototypes: Tensor) -> None:
    grown = grow(vertices((10, 12)), 4, prototypes, 0)[:6]
    torch.testing.assert_close(grown @ grown.T, torch.full((6, 6), -1 / 9).fill_diagonal_(1), atol=2e-6, rtol=0)
