"""The ranks of a split's queries, just after their own task was learned and after the last task."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from structalign.data.manifest import training_videos
from structalign.data.tasks import read_tasks
from structalign.evaluation.retrieval import asked, find
from structalign.model.features import read_captions
from structalign.params.ranking import ADDED, Ranking
from structalign.paths import FEATURES
from structalign.search.encoder import Encoder
from structalign.search.index import Gallery
from structalign.search.signal import Statistics, observe, states
from structalign.search.storing import store_split

Ranks = dict[str, NDArray[Any]]


class OverTime:
    """The queries of a split, and galleries that grow with the tasks.

    rankings: for each row of the tables, a system of `evaluation.ranks.SYSTEMS` and its weights.
    """

    def __init__(self, split: str, rankings: Mapping[str, tuple[str, Ranking]]):
        self.split, self.rankings = split, rankings
        self.galleries: list[Gallery] = []
        self.observed: list[Statistics] = []
        self.learned: list[dict[str, Ranks]] = []  # for each task with videos, right after it, by its queries

    @torch.inference_mode()
    def learn(self, encoder: Encoder, task: str) -> None:
        """Store a task's videos with the model that has just learned it, and rank for its queries."""
        number = len(self.observed) + 1
        rows, frames, zero_shot = store_split(encoder, task, self.split)
        self.observe(encoder, task)
        if rows:
            frames, zero_shot = F.normalize(frames, dim=-1), F.normalize(zero_shot, dim=-1)
            self.galleries.append(Gallery(task, number, number, rows, frames, zero_shot))
            self.learned.append(self.find(encoder, task, of=task))

    def observe(self, encoder: Encoder, task: str) -> None:
        """Keep a task's statistics for the ranking signals. They are empty if all signals have weight 0."""
        wanted = any(ranking.weights()[name] for _, ranking in self.rankings.values() for name in ADDED)
        captions = read_captions(FEATURES / task / "train") if wanted else None
        number = len(self.observed) + 1
        known = observe(encoder.zero_shot(captions.tokens), captions.category, number) if captions else {}
        self.observed.append(known)

    def find(self, encoder: Encoder, task: str, of: str | None = None) -> dict[str, Ranks]:
        """The ranks of each row after `task`: of all queries, or only of those about the task `of`."""
        question = asked(task, self.split, self.galleries)
        known = states(self.observed) if all(self.observed) else {}
        rows, found = find(encoder, self.galleries, known, question, self.rankings, of)
        own = np.array([of in (None, question.queries[row]["task"]) for row in rows])
        result = {}
        for name, (system, _) in self.rankings.items():
            text, in_task, video = (found[name][f"{system}_{kind}"] for kind in ("text", "task", "video"))
            result[name] = {"rank": text[own], "rank in task": in_task[own], "v2t rank": video}
        return result

    @torch.inference_mode()
    def finish(self, encoder: Encoder) -> dict[str, Any]:
        """Videos and ranks of all queries after the last task, in the order of tasks, for `sweep.measures`."""
        tasks = read_tasks()
        last = [*tasks][-1]
        question, found = asked(last, self.split, self.galleries), self.find(encoder, last)
        place = {task: number for number, task in enumerate(tasks)}
        order = np.argsort([place[question.video_tasks[column]] for column in question.truth], kind="stable")
        videos = np.unique(question.truth)
        return {
            "categories": {task: len(row.categories) for task, row in tasks.items()},
            "videos": [question.videos[column]["id"] for column in videos],
            "tasks": [question.video_tasks[column] for column in videos],
            "category": [question.videos[column]["category"] for column in videos],
            "training videos": training_videos(tasks),
            "queries": np.searchsorted(videos, question.truth)[order].tolist(),
            "rows": {name: self._row(name, ranks, order) for name, ranks in found.items()},
        }

    def _row(self, name: str, ranks: Ranks, order: NDArray[Any]) -> dict[str, list[int]]:
        row = {kind: ranks[kind][order] for kind in ("rank", "rank in task")}
        if self.learned:
            row |= {f"learned {kind}": np.concatenate([then[name][kind] for then in self.learned]) for kind in row}
        return {kind: values.tolist() for kind, values in (row | {"v2t rank": ranks["v2t rank"]}).items()}
