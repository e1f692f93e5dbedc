"""The fused score of a gallery, from the matrices of its signals. Only NumPy, so evaluation starts without torch.

Q queries are rows, V videos are columns.
"""

from collections.abc import Iterable, Mapping
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from structalign.errors import UserError
from structalign.params.ranking import SIMILARITIES

Floats = NDArray[np.float64]
M = TypeVar("M")


def zscores(scores: NDArray[np.floating]) -> Floats:
    """Standardise each query's row: subtract its mean, divide by its population std (at least 1e-6).

    >>> zscores(np.array([[1.0, 3.0], [2.0, 2.0]])).tolist()
    [[-1.0, 1.0], [0.0, 0.0]]
    """
    standardised = scores.astype(np.float64)
    if scores.size == 0:
        return standardised
    # in place; bit-identical to `(x - x.mean()) / x.std()`
    standardised -= standardised.mean(axis=1, keepdims=True)
    deviation = np.sqrt(np.square(standardised).mean(axis=1, keepdims=True))
    standardised /= np.maximum(deviation, 1e-6)
    return standardised


def fuse(scores: Mapping[str, NDArray[np.floating]], weights: Mapping[str, float]) -> Floats:
    """Ranking score [Q, V] = sum of weight · z(similarity) + sum of weight · signal, over the given gallery.

    scores: a matrix [Q, V] per signal. The two similarities are standardised (method, section 3). If there is only one,
    its weight is 1. Other signals are added without standardisation, and weight 0 turns one off. A single similarity
    without other signals is the score, unchanged.

    >>> two = {"words": np.array([[1.0, 3.0]]), "sentence": np.array([[5.0, 4.0]])}
    >>> fuse(two, {"words": 0.75, "sentence": 0.25}).tolist()
    [[-0.5, 0.5]]
    """
    shapes = {name: matrix.shape for name, matrix in scores.items()}
    if len(set(shapes.values())) > 1:
        raise UserError(f"the score matrices differ in shape ({shapes}): run stage `embed` again.")
    similar = {name: scores[name] for name in SIMILARITIES if name in scores}
    added = {name: matrix for name, matrix in scores.items() if name not in similar and weights[name]}
    if len(similar) == 1:
        (only,) = similar.values()
        fused = zscores(only) if added else only.astype(np.float64)
    else:
        fused = np.zeros(next(iter(shapes.values())))
        for name, matrix in similar.items():
            standardised = zscores(matrix)
            standardised *= weights[name]
            fused += standardised
    for name, matrix in added.items():
        fused += weights[name] * matrix
    return fused


def of_system(matrices: Mapping[str, M], system: str, signals: Iterable[str]) -> dict[str, M]:
    """The matrices of a system by signal: its `<system>.<signal>`, and the shared `<signal>`."""
    found = {name: matrices.get(f"{system}.{name}", matrices.get(name)) for name in signals}
    return {name: matrix for name, matrix in found.items() if matrix is not None}
