"""The simplex ETF: C unit vectors that are as far apart as C vectors can be (method, section 4)."""

import torch
from torch import Tensor

from structalign.errors import UserError
from structalign.seeds import seed_of


def simplex_etf(dim: int, categories: int, seed: int) -> Tensor:
    """[C, d] float32 vertices, E = sqrt(C / (C - 1)) O H^T (transposed). Any two have cosine -1 / (C - 1).

    H: an orthonormal basis of the vectors of R^C that sum to zero. O: d x (C - 1) with orthonormal columns, seeded.
    Computed in float64 on the CPU. Raises `UserError` if d < C - 1, since no such simplex exists.
    """
    if categories < 2:
        raise UserError(f"a simplex needs at least 2 categories, not {categories}: raise `etf.capacity`.")
    if dim < categories - 1:
        raise UserError(
            f"`etf.dim` = {dim} has room for {dim + 1} categories, not for {categories}: "
            f"raise `etf.dim` to {categories - 1}."
        )
    orthonormal = _orthonormal_columns(dim, categories - 1, seed)
    length = (categories / (categories - 1)) ** 0.5
    vertices: Tensor = orthonormal @ _sum_zero_basis(categories).T * length
    return vertices.T.contiguous().float()


def gaussian_vertices(dim: int, categories: int, seed: int) -> Tensor:
    """[C, d] float32, the released vertices: normalised columns of W (I - 11^T / C), W = randn(d, C) of `seed`.

    They are near a simplex only if d is much larger than C. Any d is allowed.
    """
    if categories < 2:
        raise UserError(f"Gaussian vertices need at least 2 categories, not {categories}: raise `etf.capacity`.")
    columns = torch.randn(dim, categories, generator=torch.Generator().manual_seed(seed))
    centred = columns - columns.mean(dim=1, keepdim=True)
    unit: Tensor = centred / centred.norm(dim=0)
    return unit.T.contiguous()


def grow(vertices: Tensor, learned: int, prototypes: Tensor, seed: int) -> Tensor:
    """The simplex [C, d] with new vertices for the categories k .. k+m-1, as near as possible to their prototypes.

    vertices: [C, d], of which the first k = `learned` stay. prototypes: [m, d] in ETF space. The new vertices are
    -S / (C - k) + F O, where S is the sum of the first k. F F^T = C / (C - 1) (I - 11^T / (C - k)) makes them a part of
    the simplex. O has orthonormal rows that are orthogonal to the first k. The O that maximises <F O, prototypes> is
    the solution of an orthogonal Procrustes problem (Schönemann, 1966). Computed in float64 on the CPU.
    """
    categories, new = len(vertices), len(prototypes)
    old, room = vertices[:learned].double(), categories - learned
    ones = torch.ones(new, new, dtype=torch.float64) / new
    factor = (categories / (categories - 1)) ** 0.5 * (
        torch.eye(new, dtype=torch.float64) - (1 - max(0.0, 1 - new / room) ** 0.5) * ones
    )
    free = torch.linalg.qr(old.T, mode="complete").Q[:, learned:]  # [d, d - k], orthogonal to the old vertices
    wanted = factor @ prototypes.double() @ free
    source = torch.Generator().manual_seed(seed_of(seed, "grow", learned))
    noise = torch.randn(wanted.shape, generator=source, dtype=torch.float64)  # decides where prototypes have no say
    left, _, right = torch.linalg.svd(wanted + 1e-6 * noise, full_matrices=False)
    grown = -old.sum(dim=0) / room + factor @ left @ right @ free.T
    return torch.cat([vertices[:learned], grown.float(), vertices[learned + new :]])


def _sum_zero_basis(categories: int) -> Tensor:
    """[C, C - 1]: column k is (1, ..., 1, -k, 0, ..., 0) / sqrt(k (k + 1)) with k ones (Helmert)."""
    basis = torch.zeros(categories, categories - 1, dtype=torch.float64)
    for k in range(1, categories):
        basis[:k, k - 1] = 1.0
        basis[k, k - 1] = -k
        basis[:, k - 1] /= (k * (k + 1)) ** 0.5
    return basis


def _orthonormal_columns(rows: int, columns: int, seed: int) -> Tensor:
    source = torch.Generator().manual_seed(seed_of(seed, "etf"))
    matrix = torch.randn(rows, columns, generator=source, dtype=torch.float64)
    orthonormal: Tensor = torch.linalg.qr(matrix).Q
    return orthonormal


def random_head_init(rows: int, columns: int, seed: int, name: str) -> Tensor:
    """[d, D] of a default linear layer, U(-1/sqrt(D), 1/sqrt(D)): the released heads."""
    source = torch.Generator().manual_seed(seed_of(seed, "random head", name))
    return torch.empty(rows, columns).uniform_(-(columns**-0.5), columns**-0.5, generator=source)


def etf_head_init(rows: int, columns: int, seed: int) -> Tensor:
    """[d, D] initial head h: the identity if d = D, otherwise orthonormal rows or columns."""
    if rows == columns:
        return torch.eye(rows)
    if rows > columns:
        return _orthonormal_columns(rows, columns, seed_of(seed, "head")).float()
    return _orthonormal_columns(columns, rows, seed_of(seed, "head")).T.contiguous().float()
