"""Ranks of a split from its score matrices, a block of queries at a time.

The same code ranks stored matrices, and matrices that are too large to store while they are computed. A block has
complete rows, so z-scores and all other numbers do not depend on the blocks. Only NumPy.

Q queries are rows, V videos are columns, W videos have a query. `ground_truth[q]` is the column of the video of query
q.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import save_file

from structalign.errors import UserError
from structalign.params.ranking import SIMILARITIES, Ranking
from structalign.search.fusion import Floats, fuse, of_system

Array = NDArray[Any]
Ints = NDArray[np.int64]

SYSTEMS = ("method", "zero_shot")
TOP = 5  # videos shown per query
AT_ONCE = 1 << 22  # scores to divide among the tasks at a time
IN_CACHE = 1 << 16  # scores to fuse and rank at a time: their 512 KiB of float64 fit into a core's cache
IN_MEMORY = 1 << 27  # scores of videos with a query, 1 GiB; larger matrices use a temporary file


def text_to_video_ranks(scores: NDArray[np.floating], ground_truth: Ints, first: int = 0) -> Ints:
    """Rank [Q] of each query's video. A tie counts as an error, so a collapsed model ranks last.

    `first` is the number of the first row, if the rows are a part of all queries.

    >>> scores = np.array([[0.9, 0.1, 0.5], [0.2, 0.2, 0.1]])
    >>> text_to_video_ranks(scores, ground_truth=np.array([2, 0])).tolist()
    [2, 2]
    """
    ranks = np.zeros(len(ground_truth), dtype=np.int64)
    for rows in _parts(scores.shape, IN_CACHE):
        some, own_columns = scores[rows], ground_truth[rows]
        _refuse_nan(some, first + rows.start)
        own = some[np.arange(len(own_columns)), own_columns]
        # The query's video ties with itself, which gives the 1 of "1 + negatives at least as good".
        ranks[rows] = _count(some >= own[:, None], axis=1)
    return ranks


def video_to_text_ranks(scores: NDArray[np.floating], ground_truth: Ints) -> tuple[Ints, Ints]:
    """The columns of videos with a caption, and the rank of each video's best own caption.

    The video's other captions are no negatives. A tie with another video's caption counts as an error.

    >>> scores = np.array([[0.9, 0.8], [0.1, 0.2], [0.5, 0.7]])
    >>> videos, ranks = video_to_text_ranks(scores, ground_truth=np.array([0, 0, 1]))
    >>> videos.tolist(), ranks.tolist()
    ([0, 1], [1, 2])
    """
    videos, of_query = np.unique(ground_truth, return_inverse=True)
    own = scores[np.arange(len(ground_truth)), ground_truth]
    best = np.full(len(videos), -np.inf)
    np.maximum.at(best, of_query, own)
    ranks = np.ones(len(videos), dtype=np.int64)
    for rows in _parts(scores.shape, IN_CACHE):
        _refuse_nan(scores[rows], rows.start)
        ranks += _count(_taken(scores[rows], videos) >= best, axis=0)
    return videos, ranks - np.bincount(of_query[own == best[of_query]], minlength=len(videos))


def rank(
    blocks: Iterable[Mapping[str, Array]], ground_truth: Ints, video_tasks: Sequence[str], ranking: Ranking
) -> dict[str, Array]:
    """Rank all queries from consecutive blocks of rows [R, V].

    A block has the matrices of the signals of each system of SYSTEMS, shared matrices, and `best_frame`, with the names
    of `search.scoring`. A system without similarities in the blocks is left out.

    Results per system: `<system>_text` [Q], the rank of the query's video among all. `<system>_task` [Q], the same with
    ranks and z-scores among the videos of its task. `<system>_video` [W], the rank of a video's best own caption.
    Results of the method: `top`, `top_score`, `top_frame` [Q, 5], the first columns with their fused score and best
    frame, and `own_score`, `own_frame` [Q] of the query's video. `zero_shot_sentence` [Q] is the rank by zero-shot
    CLIP's sentence similarity, as published. video_tasks: [V] the task of each video. Memory: one block, and the fused
    scores of all queries and the W videos.
    """
    task_of_video, weights = np.array(video_tasks), ranking.weights()
    asked = np.unique(ground_truth)
    found: dict[str, list[Array]] = {}
    columns: dict[str, Floats] = {}
    start = 0
    for block in blocks:
        shape = next(iter(block.values())).shape
        for rows in _parts(shape, AT_ONCE):
            part = {name: matrix[rows] for name, matrix in block.items()}
            own_columns = ground_truth[start + rows.start : start + rows.stop]
            for system in SYSTEMS:
                signals = of_system(part, system, weights)
                if not any(name in signals for name in SIMILARITIES):
                    continue
                if system not in columns:
                    columns[system] = _room(len(ground_truth), len(asked))
                first = start + rows.start
                for some, fused in _fused(signals, weights):
                    own = own_columns[some]
                    _add(found, f"{system}_text", text_to_video_ranks(fused, own, first + some.start))
                    columns[system][first + some.start : first + some.stop] = _taken(fused, asked)
                    if system == "method" and "best_frame" in part:
                        for name, values in _shown(fused, part["best_frame"][some], own).items():
                            _add(found, name, values)
                _add(found, f"{system}_task", _ranks_in_task(signals, weights, own_columns, task_of_video))
            if "zero_shot.sentence" in part:
                plain = text_to_video_ranks(part["zero_shot.sentence"], own_columns, start + rows.start)
                _add(found, "zero_shot_sentence", plain)
        start += shape[0]
    for system, scores in columns.items():
        found[f"{system}_video"] = [video_to_text_ranks(scores, np.searchsorted(asked, ground_truth))[1]]
    return {name: np.concatenate(parts) for name, parts in found.items()}


def _parts(shape: tuple[int, ...], scores: int) -> Iterator[slice]:
    """Slices of consecutive rows of a matrix of this shape, with about `scores` scores each."""
    count, width = shape
    step = max(1, scores // max(1, width))
    for start in range(0, count, step):
        yield slice(start, min(start + step, count))


def _fused(signals: Mapping[str, Array], weights: Mapping[str, float]) -> Iterator[tuple[slice, Floats]]:
    """The fused scores of a few rows at a time, so that they stay in a core's cache while they are used."""
    for rows in _parts(next(iter(signals.values())).shape, IN_CACHE):
        yield rows, fuse({name: matrix[rows] for name, matrix in signals.items()}, weights)


def _taken(scores: Array, columns: Ints) -> Array:
    """The given columns (sorted and unique) of the scores."""
    return scores if len(columns) == scores.shape[1] else scores[:, columns]


def _count(found: NDArray[np.bool_], axis: int) -> Ints:
    """The number of true values along an axis."""
    counts: Ints = found.view(np.uint8).sum(axis=axis, dtype=np.int32).astype(np.int64)
    return counts


def _refuse_nan(scores: NDArray[np.floating], first: int = 0) -> None:
    if not np.isnan(scores.min(initial=np.inf)):  # NaN if any score is NaN
        return
    query, video = np.argwhere(np.isnan(scores))[0]
    raise UserError(
        f"the score of query {first + query} and video {video} is not a number, since the model has diverged: "
        "lower its learning rates (`optim.first.lr`, `optim.later.lr`) and train again."
    )


def _add(found: dict[str, list[Array]], name: str, values: Array) -> None:
    found.setdefault(name, []).append(values)


def _room(queries: int, videos: int) -> Floats:
    """[queries, videos] float64, in memory or in a temporary file."""
    if queries * videos <= IN_MEMORY:
        return np.empty((queries, videos))
    with TemporaryFile() as file:
        return np.memmap(file, dtype=np.float64, shape=(queries, videos))


def _ranks_in_task(
    signals: Mapping[str, Array], weights: Mapping[str, float], ground_truth: Ints, task_of_video: Array
) -> Ints:
    """[R] rank of each query's video among the videos of its task."""
    ranks = np.zeros(len(ground_truth), dtype=np.int64)
    for task in np.unique(task_of_video[ground_truth]):
        rows, columns = np.flatnonzero(task_of_video[ground_truth] == task), np.flatnonzero(task_of_video == task)
        own = {name: matrix[np.ix_(rows, columns)] for name, matrix in signals.items()}
        for some, fused in _fused(own, weights):
            here = rows[some]
            ranks[here] = text_to_video_ranks(fused, np.searchsorted(columns, ground_truth[here]))
    return ranks


def _shown(fused: Floats, best_frame: Array, ground_truth: Ints) -> dict[str, Array]:
    """The first videos of each row (ties in the order of columns), and the query's video."""
    rows = np.arange(len(fused))
    left, top = fused.copy(), np.empty((len(fused), min(TOP, fused.shape[1])), dtype=np.int64)
    for place in range(top.shape[1]):
        top[:, place] = left.argmax(axis=1)  # the first of equal scores
        left[rows, top[:, place]] = -np.inf
    top_score = fused[rows[:, None], top]
    if np.isneginf(top_score).any():  # once only -inf is left, a column would be taken twice
        top = np.argsort(-fused, axis=1, kind="stable")[:, :TOP]
        top_score = fused[rows[:, None], top]
    return {
        "top": top,
        "top_score": top_score,
        "top_frame": best_frame[rows[:, None], top],
        "own_score": fused[rows, ground_truth],
        "own_frame": best_frame[rows, ground_truth],
    }


def write_ranks(file: Path, ranks: dict[str, Array], ranking: Ranking) -> None:
    """Store the result of `rank` with its `ranking`."""
    settings = {name: repr(value) for name, value in ranking}
    save_file({name: np.ascontiguousarray(values) for name, values in ranks.items()}, file, settings)


def read_ranks(file: Path, ranking: Ranking) -> dict[str, Array]:
    """Read what `write_ranks` stored. Raises `UserError` if it is for another `ranking`."""
    with safe_open(file, framework="numpy") as stored:
        settings = stored.metadata()
        for name, value in ranking:
            if (held := settings.get(name, "none")) != repr(value):
                raise UserError(
                    f"{file} has ranks for `ranking.{name}` = {held}, since the scores were too large to store: "
                    f"run `dvc repro -f -s embed@{file.parent.name}` to rank for {value}."
                )
        return {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 - it is no dict
