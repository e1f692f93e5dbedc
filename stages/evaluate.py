"""evaluate@k: rank every seen query against every seen video, and measure. No model, no GPU, no torch."""

from pathlib import Path
from typing import Any

import numpy as np
import typer
from numpy.typing import NDArray
from safetensors.numpy import load_file

from structalign.console import command
from structalign.errors import UserError
from structalign.params import read
from structalign.report.yardstick import verdict
from structalign.retrieval.examples import examples
from structalign.retrieval.metrics import fuse, measure, recall_per_category, summarise, text_to_video_ranks
from structalign.sections.expected import Expected
from structalign.sections.ranking import Ranking
from structalign.store import read_json, write_json

EMPTY = dict.fromkeys(("words", "sentence", "frozen_words", "frozen_sentence"), np.zeros((0, 0), dtype=np.float32))


def main(task: str) -> None:
    """Measure both splits after TASK; write reports/eval/<task>.json."""
    beta = read("ranking", Ranking).beta
    folder = Path("work/scores") / task
    splits: dict[str, Any] = {}
    shown: dict[str, Any] = {"won": [], "lost": []}
    judged = ""
    tasks: list[str] = []
    for split in ("test", "val"):
        rows = read_json(folder / f"{split}.json")
        queries, videos = rows["queries"], rows["videos"]
        scores: dict[str, NDArray[Any]] = load_file(folder / f"{split}.safetensors") if queries else EMPTY
        if queries and scores["sentence"].shape != (len(queries), len(videos)):
            raise UserError(f"{folder}/{split}.json and its matrices differ: `dvc repro -f embed@{task}` makes them.")
        column = {video["id"]: index for index, video in enumerate(videos)}
        owner = np.array([column[query["video"]] for query in queries], dtype=np.int64)
        came_with = [video["task"] for video in videos] if queries else []
        tasks = tasks or list(dict.fromkeys(came_with))
        category = np.array([query["category"] for query in queries], dtype=np.int64)
        fused = fuse(scores.get("words"), scores["sentence"], beta)
        frozen = fuse(scores["frozen_words"], scores["frozen_sentence"], beta)
        splits[split] = {
            "queries": len(queries),
            "videos": len(videos),
            "method": measure(scores.get("words"), scores["sentence"], beta, owner, came_with, tasks)
            | {"t2v_per_category": recall_per_category(text_to_video_ranks(fused, owner), category)},
            "zero_shot": measure(scores["frozen_words"], scores["frozen_sentence"], beta, owner, came_with, tasks)
            | {"t2v_per_category": recall_per_category(text_to_video_ranks(frozen, owner), category)},
        }
        if split == "test" and queries:
            shown = examples(fused, frozen, owner, scores["best_frame"], queries, videos)
            # what is published as zero-shot ranks by the sentence alone
            plain = summarise(text_to_video_ranks(scores["frozen_sentence"], owner))["R@1"]
            judged = verdict(plain, len(set(category.tolist())), read("expected", Expected))
    write_json(
        Path("reports/eval") / f"{task}.json",
        {"task": task, "tasks": tasks, "splits": splits, "examples": shown, "yardstick": judged},
    )
    if judged:
        typer.echo(judged)


if __name__ == "__main__":
    command(main)
