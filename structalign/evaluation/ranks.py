"""Ranks of a split from its score matrices, a block of queries at a time: all that evaluate measures and shows.

The same code ranks matrices that were kept and, while they are made, those that are too large to keep. A query's row is
always whole, so that its z-scores, and with them all numbers, do not depend on the blocks. NumPy alone.

Q queries, V videos, W videos that have a query; `ground_truth[q]` is the column of the video that query q describes.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import save_file

from structalign.errors import UserError
from structalign.evaluation.metrics import Floats, Ints, summarise, text_to_video_ranks, video_to_text_ranks
from structalign.params.ranking import SIMILARITIES, Ranking
from structalign.search.fusion import fuse, of_system

Array = NDArray[Any]
SYSTEMS = ("method", "zero_shot")
TOP = 5  # videos shown of a query
AT_ONCE = 1 << 23  # scores fused at a time: 64 MiB of float64
IN_MEMORY = 1 << 27  # scores of videos that have a query, 1 GiB; more of them go through a temporary file


def rank(
    blocks: Iterable[Mapping[str, Array]], ground_truth: Ints, video_tasks: Sequence[str], ranking: Ranking
) -> dict[str, Array]:
    """Rank all queries from consecutive blocks of rows [R, V].

    A block holds, as `search.scoring` names them, the matrices of the signals of each system of SYSTEMS, shared ones,
    and `best_frame`. A system of which a block has no similarity is left out.

    Of each system: `<system>_text` [Q], the rank of the query's own video among all; `<system>_task` [Q], the same with
    ranks and z-scores among the videos of its task alone; `<system>_video` [W], the rank of a video's best own caption.
    Of the method: `top`, `top_score`, `top_frame` [Q, 5], the columns found first with fused score and matching frame,
    and `own_score`, `own_frame` [Q] of the query's own video. `zero_shot_sentence` [Q] is the rank by zero-shot CLIP's
    sentence similarity alone, as published. video_tasks: [V] the task of each video. Beside a block it holds the fused
    scores of all queries and the W videos.
    """
    task_of_video, weights = np.array(video_tasks), ranking.weights()
    asked = np.unique(ground_truth)
    found: dict[str, list[Array]] = {}
    columns: dict[str, Floats] = {}
    start = 0
    for block in blocks:
        count, videos = next(iter(block.values())).shape
        for first in range(0, count, step := max(1, AT_ONCE // max(1, videos))):
            rows = slice(first, first + step)
            here = slice(start + first, start + min(first + step, count))
            own_columns = ground_truth[here]
            for system in SYSTEMS:
                signals = {name: matrix[rows] for name, matrix in of_system(block, system, weights).items()}
                if not any(name in signals for name in SIMILARITIES):
                    continue
                fused = fuse(signals, weights)
                _add(found, f"{system}_text", text_to_video_ranks(fused, own_columns, here.start))
                _add(found, f"{system}_task", _ranks_in_task(signals, weights, own_columns, task_of_video))
                if system not in columns:
                    columns[system] = _room(len(ground_truth), len(asked))
                columns[system][here] = fused[:, asked]
                if system == "method" and "best_frame" in block:
                    for name, values in _shown(fused, block["best_frame"][rows], own_columns).items():
                        _add(found, name, values)
            if "zero_shot.sentence" in block:
                plain = block["zero_shot.sentence"][rows]
                _add(found, "zero_shot_sentence", text_to_video_ranks(plain, own_columns, here.start))
        start += count
    for system, scores in columns.items():
        found[f"{system}_video"] = [video_to_text_ranks(scores, np.searchsorted(asked, ground_truth))[1]]
    return {name: np.concatenate(parts) for name, parts in found.items()}


def _add(found: dict[str, list[Array]], name: str, values: Array) -> None:
    found.setdefault(name, []).append(values)


def _room(queries: int, videos: int) -> Floats:
    """[queries, videos] float64, in memory or in a temporary file that goes with it."""
    if queries * videos <= IN_MEMORY:
        return np.empty((queries, videos))
    with TemporaryFile() as file:
        return np.memmap(file, dtype=np.float64, shape=(queries, videos))


def _ranks_in_task(
    scores: Mapping[str, Array], weights: Mapping[str, float], ground_truth: Ints, task_of_video: Array
) -> Ints:
    """[R] rank of each query's own video among the videos of its task."""
    ranks = np.zeros(len(ground_truth), dtype=np.int64)
    for task in np.unique(task_of_video[ground_truth]):
        rows, columns = np.flatnonzero(task_of_video[ground_truth] == task), np.flatnonzero(task_of_video == task)
        fused = fuse({name: matrix[np.ix_(rows, columns)] for name, matrix in scores.items()}, weights)
        ranks[rows] = text_to_video_ranks(fused, np.searchsorted(columns, ground_truth[rows]))
    return ranks


def _shown(fused: Floats, best_frame: Array, ground_truth: Ints) -> dict[str, Array]:
    """The first videos of each row, equal ones in the order of columns, and the query's own."""
    count = min(TOP, fused.shape[1])
    top = np.empty((len(fused), count), dtype=np.int64)
    for row, scores in enumerate(fused):
        least = np.partition(scores, -count)[-count]
        among = np.flatnonzero(scores >= least)
        top[row] = among[np.argsort(-scores[among], kind="stable")][:count]
    rows = np.arange(len(fused))
    return {
        "top": top,
        "top_score": fused[rows[:, None], top],
        "top_frame": best_frame[rows[:, None], top],
        "own_score": fused[rows, ground_truth],
        "own_frame": best_frame[rows, ground_truth],
    }


def measure(
    ranks: Mapping[str, Array], system: str, ground_truth: Ints, video_tasks: Sequence[str], tasks: Sequence[str]
) -> dict[str, dict[str, object]]:
    """Every metric of one system of a split after the last of `tasks`, from what `rank` found, in both galleries.

    In gallery `seen` all videos are candidates, in gallery `task` those of the query's task alone. Tasks without
    queries have no entry. All recalls are percent.
    """
    task_of_video = np.array(video_tasks)
    of_query, of_asked = task_of_video[ground_truth], task_of_video[np.unique(ground_truth)]
    nothing = np.zeros(0, dtype=np.int64)
    text, own, video = (ranks.get(f"{system}_{kind}", nothing) for kind in ("text", "task", "video"))
    text_per_task = {task: summarise(text[of_query == task]) for task in tasks}
    video_per_task = {task: summarise(video[of_asked == task]) for task in tasks}
    own_per_task = {task: summarise(own[of_query == task]) for task in tasks}
    return {
        "t2v": dict(summarise(text)),
        "v2t": dict(summarise(video)),
        "t2v_per_task": {task: found for task, found in text_per_task.items() if found},
        "v2t_per_task": {task: found for task, found in video_per_task.items() if found},
        "acc_seen": {task: found["R@1"] for task, found in text_per_task.items() if found},
        "acc_task": {task: found["R@1"] for task, found in own_per_task.items() if found},
    }


def write_ranks(file: Path, ranks: dict[str, Array], ranking: Ranking) -> None:
    """Store what `rank` found with the `ranking` that it holds for."""
    settings = {name: repr(value) for name, value in ranking}
    save_file({name: np.ascontiguousarray(values) for name, values in ranks.items()}, file, settings)


def read_ranks(file: Path, ranking: Ranking) -> dict[str, Array]:
    """What `write_ranks` stored; `UserError` if it holds for another `ranking`."""
    with safe_open(file, framework="numpy") as stored:
        settings = stored.metadata()
        for name, value in ranking:
            if (held := settings.get(name, "none")) != repr(value):
                raise UserError(
                    f"{file} holds ranks for `ranking.{name}` = {held}, the scores were too large to keep: "
                    f"`dvc repro -f -s embed@{file.parent.name}` ranks them for {value}."
                )
        return {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 - it is no dict
