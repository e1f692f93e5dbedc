"""Geometry of the categories: neural collapse, angles, modality gap and drift. Pure functions with NumPy only.

Letters: n samples, C categories, d ETF space, D embedding. In a mean over categories, each counts once, regardless of
its number of samples. docs/protocol.md has the formulas and their sources.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

TINY = 1e-9  # a centred prototype shorter than this has no direction
QUANTILES = (0, 25, 50, 75, 100)
DEGREES = ("angles", "text_drift", "misalignment")  # the outputs of `geometry_over_time` in degrees


def prototypes(samples: NDArray[np.floating], category: Ints, categories: Ints) -> Floats:
    """[C, D] mean of the samples [n, D] of each of `categories`. Each must have a sample.

    >>> prototypes(np.array([[0.0, 2.0], [0.0, 4.0], [1.0, 0.0]]), np.array([7, 7, 3]), np.array([3, 7])).tolist()
    [[1.0, 0.0], [0.0, 3.0]]
    """
    return np.stack([samples[category == c].mean(axis=0, dtype=np.float64) for c in categories])


def centred(means: Floats) -> Floats:
    """Prototypes [C, D] minus their mean over the given categories, which are those seen so far."""
    moved: Floats = means - means.mean(axis=0)
    return moved


def neural_collapse(
    samples: NDArray[np.floating], category: Ints, vertices: NDArray[np.floating]
) -> dict[str, float] | None:
    """NC1 to NC4 of samples [n, d] and the vertices [C, d] of the categories 0..C-1. All are 0 at collapse.

    None if they are undefined: fewer than two categories, or all prototypes in one point.
    """
    count = len(vertices)
    if count < 2:
        return None
    points, simplex = samples.astype(np.float64), vertices.astype(np.float64)
    means = prototypes(points, category, np.arange(count))
    out, target = centred(means), centred(simplex)
    norms = np.linalg.norm(out, axis=1)
    if norms.min() < TINY:  # then there is no direction
        return None
    cosines = pairs(out @ out.T / np.outer(norms, norms))
    nearest = np.linalg.norm(points[:, None] - means[None], axis=2).argmin(axis=1)
    return {
        "NC1": _within_over_between(points, category, means),
        "NC2_norms": float(norms.std() / norms.mean()),
        "NC2_angles": float(np.abs(cosines + 1 / (count - 1)).mean()),
        "NC3": float(np.square(out / np.linalg.norm(out) - target / np.linalg.norm(target)).sum()),
        "NC4": float(np.mean(nearest != (points @ simplex.T).argmax(axis=1))),
    }


def _within_over_between(points: Floats, category: Ints, means: Floats) -> float:
    """tr(S_W S_B^+) / C, where S_W is the mean of the categories' covariances and S_B the covariance of their means."""
    count, out = len(means), centred(means)
    deviation = points - means[category]
    share = 1 / (count * np.bincount(category, minlength=count)[category])
    within = (deviation * share[:, None]).T @ deviation
    between = out.T @ out / count
    return float(np.trace(within @ np.linalg.pinv(between, rcond=1e-8, hermitian=True)) / count)


def pairs(matrix: Floats) -> Floats:
    """The entries above the diagonal of a [C, C] matrix, so that each pair is there once."""
    upper: Floats = matrix[np.triu_indices(len(matrix), k=1)]
    return upper


def angle(a: Floats, b: Floats) -> Floats:
    """The angle in degrees between corresponding rows, [C, D] and [C, D] -> [C].

    >>> angle(np.array([[1.0, 0.0], [1.0, 0.0]]), np.array([[0.0, 2.0], [-3.0, 0.0]])).tolist()
    [90.0, 180.0]
    """
    cosine = (a * b).sum(axis=1) / np.maximum(np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1), TINY)
    degrees: Floats = np.degrees(np.arccos(cosine.clip(-1, 1)))
    return degrees


def angle_spectra(text: Floats, video: Floats) -> dict[str, Any] | None:
    """Quantiles (0, 25, 50, 75, 100 %) of the angles in degrees between prototypes [C, D], centred in each modality.

    `text`, `video`: pairs of categories within a modality. `own`: text and video of one category. `other`: of two
    categories. `simplex`: the angle of all pairs in a simplex of C. None for fewer than two categories.
    """
    count = len(text)
    if count < 2:
        return None
    a, b = centred(text), centred(video)
    i, j = np.triu_indices(count, k=1)
    spectra = {
        "text": angle(a[i], a[j]),
        "video": angle(b[i], b[j]),
        "own": angle(a, b),
        "other": np.concatenate([angle(a[i], b[j]), angle(a[j], b[i])]),
    }
    found: dict[str, Any] = {name: np.percentile(angles, QUANTILES).tolist() for name, angles in spectra.items()}
    return found | {"simplex": float(np.degrees(np.arccos(-1 / (count - 1))))}


def modality_gap(text: Floats, video: Floats) -> float:
    """The distance of the two modalities' mean prototypes, each a mean of unit vectors: 0 to 2.

    >>> modality_gap(np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]])) == 2**0.5
    True
    """
    return float(np.linalg.norm(text.mean(axis=0) - video.mean(axis=0)))


def text_drift(then: Floats, now: Floats) -> float:
    """Mean angle in degrees between a task's text prototypes [C, D] after learning it and now."""
    return float(angle(then, now).mean())


def misalignment(then: Floats, now: Floats, video: Floats) -> float:
    """The angle in degrees by which a task's text prototypes drifted away from its stored videos since it was learned.

    All are prototypes [C, D]. Stored videos never change, so the text alone moved. Negative: text and videos got
    closer.
    """
    return float((angle(now, video) - angle(then, video)).mean())


def geometry_over_time(
    stored: Mapping[str, Mapping[str, Any]], collapse: Mapping[str, Any], task_of: Mapping[int, str]
) -> dict[str, Any]:
    """One split's geometry: `collapse`, `angles` and `gap` by time t, `text_drift` and `misalignment` by [t][i].

    `stored[t]`: arrays `category` [C], `text` and `video` [C, D] after task t. Times without queries are left out.
    `task_of`: the task of each category.
    """
    found: dict[str, Any] = {
        "collapse": {after: collapse[after] for after in stored},
        **{name: {} for name in ("angles", "gap", "text_drift", "misalignment")},
    }
    for after, now in stored.items():
        text, video = (now[name].astype(np.float64) for name in ("text", "video"))
        ground_truth = [task_of[int(c)] for c in now["category"]]
        found["angles"][after] = angle_spectra(text, video)
        found["gap"][after] = modality_gap(text, video)
        found["text_drift"][after], found["misalignment"][after] = {}, {}
        for task in dict.fromkeys(ground_truth):
            rows = [row for row, name in enumerate(ground_truth) if name == task]
            learned = _rows_of(stored[task], now["category"][rows]) if task in stored else None
            if learned is not None:
                found["text_drift"][after][task] = text_drift(learned, text[rows])
                found["misalignment"][after][task] = misalignment(learned, text[rows], video[rows])
    return found


def rounded(found: Mapping[str, Any]) -> dict[str, Any]:
    """`geometry_over_time`, rounded: degrees to a tenth, other values to three significant digits.

    Further digits differ between processors.
    """
    return {
        name: _each(value, (lambda x: round(x, 1)) if name in DEGREES else lambda x: float(f"{x:.3g}"))
        for name, value in found.items()
    }


def _each(value: Any, change: Callable[[float], float]) -> Any:
    """Apply `change` to all numbers in a tree of dicts and lists."""
    if isinstance(value, Mapping):
        return {name: _each(part, change) for name, part in value.items()}
    if isinstance(value, list):
        return [_each(part, change) for part in value]
    return value if value is None else change(value)


def _rows_of(stored: Mapping[str, Any], categories: Sequence[int]) -> Floats | None:
    """The stored text prototypes of `categories`. None if one is missing."""
    place = {int(c): row for row, c in enumerate(stored["category"])}
    if any(int(c) not in place for c in categories):
        return None
    rows: Floats = stored["text"][[place[int(c)] for c in categories]].astype(np.float64)
    return rows
