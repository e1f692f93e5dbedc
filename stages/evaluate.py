"""evaluate@k: rank every seen query against every seen video, and measure. No model, no GPU, no torch."""

from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from structalign.console import command
from structalign.errors import UserError
from structalign.params import read
from structalign.retrieval.examples import examples
from structalign.retrieval.metrics import fuse, measure
from structalign.sections.ranking import Ranking
from structalign.store import read_json, write_json


def main(task: str) -> None:
    """Measure both splits after TASK; write reports/eval/<task>.json."""
    beta = read("ranking", Ranking).beta
    splits: dict[str, Any] = {}
    shown: dict[str, Any] = {}
    tasks: list[str] = []
    for split in ("test", "val"):
        folder = Path("work/scores") / task
        rows = read_json(folder / f"{split}.json")
        scores = load_file(folder / f"{split}.safetensors")
        queries, videos = rows["queries"], rows["videos"]
        if scores["words"].shape != (len(queries), len(videos)):
            raise UserError(
                f"{folder}/{split}.json and its matrices differ: `dvc repro -f embed@{task}` makes them."
            )
        column = {video["id"]: index for index, video in enumerate(videos)}
        owner = np.array([column[query["video"]] for query in queries], dtype=np.int64)
        of_video = [video["task"] for video in videos]
        tasks = tasks or list(dict.fromkeys(of_video))
        splits[split] = {
            "queries": len(queries),
            "videos": len(videos),
            "method": measure(scores["words"], scores["sentence"], beta, owner, of_video, tasks),
            "zero_shot": measure(
                scores["frozen_words"], scores["frozen_sentence"], beta, owner, of_video, tasks
            ),
        }
        if split == "test":
            fused = fuse(scores["words"], scores["sentence"], beta)
            frozen = fuse(scores["frozen_words"], scores["frozen_sentence"], beta)
            shown = examples(fused, frozen, owner, scores["best_frame"], queries, videos)
    write_json(
        Path("reports/eval") / f"{task}.json",
        {"task": task, "tasks": tasks, "splits": splits, "examples": shown},
    )


if __name__ == "__main__":
    command(main)
