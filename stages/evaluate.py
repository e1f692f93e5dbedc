"""evaluate@k: rank every seen query against all seen videos, and compute the metrics, without model, GPU and torch."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from structalign.console import command, say
from structalign.errors import UserError
from structalign.evaluation.metrics import measure, recall_interval, recall_per_category, summarise
from structalign.evaluation.qualitative import examples
from structalign.evaluation.ranks import SYSTEMS, rank, read_ranks
from structalign.params.ranking import Ranking
from structalign.params.reading import read
from structalign.params.reference import Reference
from structalign.paths import REPORTS, SCORES
from structalign.report.sanity_check import verdict
from structalign.store import read_json, read_rows, reading, write_json


def main(task: str) -> None:
    """Compute the metrics of both splits after TASK, and write reports/eval/<task>.json."""
    ranking = read("ranking", Ranking)
    folder = SCORES / task
    splits: dict[str, Any] = {}
    shown: dict[str, Any] = {"won": [], "lost": []}
    sanity_check = ""
    tasks: list[str] = []
    for split in ("test", "val"):
        queries = read_rows(folder / f"{split}.json", "queries", "video", "text", "category")
        videos = read_rows(folder / f"{split}.json", "videos", "id", "task")
        column = {video["id"]: index for index, video in enumerate(videos)}
        ground_truth = np.array([column[query["video"]] for query in queries], dtype=np.int64)
        video_tasks = [video["task"] for video in videos] if queries else []
        tasks = tasks or list(dict.fromkeys(video_tasks))
        category = np.array([query["category"] for query in queries], dtype=np.int64)
        ranks = ranks_of(folder, split, ground_truth, video_tasks, ranking) if queries else {}
        splits[split] = {"queries": len(queries), "videos": len(videos)} | {
            system: measure(ranks, system, ground_truth, video_tasks, tasks)
            | {"t2v_per_category": recall_per_category(ranks[f"{system}_text"], category) if queries else {}}
            | {"t2v_interval": recall_interval(ranks[f"{system}_text"], ground_truth) if queries else None}
            for system in SYSTEMS
        }
        if split == "test" and queries:
            shown = examples(ranks, ground_truth, queries, videos)
            # published zero-shot scores rank only by the sentence
            plain = summarise(ranks["zero_shot_sentence"])["R@1"]
            sanity_check = verdict(plain, len(set(category.tolist())), read("reference", Reference))
    write_json(
        REPORTS / "eval" / f"{task}.json",
        {
            "task": task,
            "tasks": tasks,
            "splits": splits,
            "examples": shown,
            "sanity_check": sanity_check,
            "sizes": read_json(folder / "sizes.json"),
        },
    )
    if sanity_check:
        say(sanity_check)


def ranks_of(
    folder: Path, split: str, ground_truth: NDArray[np.int64], video_tasks: list[str], ranking: Ranking
) -> dict[str, NDArray[Any]]:
    """The split's ranks, from the matrices that `embed` stored, or the stored ranks if the matrices were too large."""
    if (kept := folder / f"{split}.ranks.safetensors").exists():
        with reading(kept):
            return read_ranks(kept, ranking)
    path = folder / f"{split}.safetensors"
    with reading(path):
        scores = load_file(path)
        shapes = {scores["best_frame"].shape, *(matrix.shape for matrix in scores.values())}
    if shapes != {(len(ground_truth), len(video_tasks))}:
        raise UserError(f"{folder}/{split}.json and its matrices do not match: run `dvc repro -f embed@{folder.name}`.")
    return rank([scores], ground_truth, video_tasks, ranking)


if __name__ == "__main__":
    command(main)
