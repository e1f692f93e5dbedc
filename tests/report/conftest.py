"""A finished run made of nothing: scores, logs, costs and thumbnails of invented videos."""

import colorsys
import json
import math
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from stages import evaluate, report
from structalign.data.tasks import deal, read_tasks, write_tasks
from structalign.data.thumbs import encode, write_thumbs
from structalign.store import write_json

ROOT = Path(__file__).parents[2]
VIDEOS, FRAMES = 12, 4
NAMES = "cat dog owl eel bee ant fig pea pie tea oak bus kite rain flute sock".split()


def fabricate(root: Path, tasks: int = 3, per_task: int = VIDEOS) -> None:
    """Everything that evaluate and report read, below `root`."""
    rng = np.random.default_rng(0)
    shutil.copy(ROOT / "params.yaml", root / "params.yaml")
    write_tasks(
        deal((NAMES * 3)[: 2 * tasks] if tasks <= 8 else [f"c{i}" for i in range(2 * tasks)], tasks),
        root / "tasks.yaml",
    )
    keys = list(read_tasks(root / "tasks.yaml"))
    for number, task in enumerate(keys, start=1):
        for split in ("test", "val"):
            videos = [
                {
                    "id": f"{key}/{i}.mp4", "file": f"{key}/{i}.mp4", "task": key, "category": NAMES[(2 * k + i % 2) % 16],
                    "times": [0.0, 0.5, 1.0, 1.5], "start": 0.0, "duration": 2.0,
                }
                for k, key in enumerate(keys[:number]) for i in range(per_task)
            ]  # fmt: skip
            queries = [
                {key: video[key] for key in ("task", "category")}
                | {
                    "video": video["id"],
                    "text": f"a {video['category']} drives from left to right <b>&</b> back",
                }
                for video in videos
                for _ in range(2)
            ]
            write_json(
                root / f"work/scores/{task}/{split}.json",
                {"task": task, "queries": queries, "videos": videos},
            )
            owner = np.repeat(np.arange(len(videos)), 2)
            age = np.array([number - 1 - keys.index(query["task"]) for query in queries])
            signal = np.zeros((len(queries), len(videos)))
            signal[np.arange(len(queries)), owner] = 1
            noise = rng.normal(size=(4, *signal.shape))
            strength = {
                "words": 2.4 - 0.35 * age,
                "sentence": 2.0 - 0.3 * age,
                "frozen_words": 1.4,
                "frozen_sentence": 1.4,
            }
            scores = {
                name: (
                    signal * np.broadcast_to(np.array(strong), (len(queries),))[:, None] + noise[i]
                ).astype(np.float32)
                for i, (name, strong) in enumerate(strength.items())
            }
            scores["best_frame"] = rng.integers(0, FRAMES, signal.shape).astype(np.uint8)
            save_file(scores, root / f"work/scores/{task}/{split}.safetensors")
        write_thumbs(
            root / "work/thumbs" / task,
            ((f"{task}/{i}.mp4", encode(_pictures(number, i))) for i in range(per_task)),
        )
        lines = [
            {"step": s, "epoch": s // 20, "loss": 5 * math.exp(-s / 60) + 1 + rng.random() / 3, "contrastive": 4 * math.exp(-s / 60) + rng.random() / 3,
             "etf": 1.8 * math.exp(-s / 90), "lr": 1e-3, "grad_norm": 1.0} | ({"crp": 0.2 + rng.random() / 20, "pseudo": 1.5} if number > 1 else {})
            for s in range(150)
        ]  # fmt: skip
        (root / "work/logs").mkdir(parents=True, exist_ok=True)
        (root / f"work/logs/{task}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        broken = (
            [{"id": "x.mp4", "file": "x.mp4", "split": "train", "reason": "no video stream"}]
            if number == 1
            else []
        )
        write_json(root / f"work/quarantine/{task}.json", {"videos": broken})
        for stage, seconds in (("frames", 3.2), ("features", 6.5), ("train", 21.7), ("embed", 4.4)):
            own = {"trained_parameters": 123456, "bytes_checkpoint": 640_000} if stage == "train" else {}
            own |= {"stored_bytes_per_video": 4096, "bytes_gallery": 90_000} if stage == "embed" else {}
            write_json(
                root / f"work/costs/{stage}/{task}.json",
                {
                    "stage": stage,
                    "task": task,
                    "seconds": seconds,
                    "peak_memory_bytes": 512_000_000,
                    "cores": 2,
                    **own,
                },
            )


def _pictures(number: int, index: int) -> np.ndarray:
    """Four frames of a disc that moves over a coloured ground."""
    y, x = np.mgrid[:96, :96]
    ground = np.array(colorsys.hsv_to_rgb((number * 0.21 + index * 0.07) % 1, 0.35, 0.9)) * 255
    disc = np.array(colorsys.hsv_to_rgb((number * 0.4 + index * 0.13) % 1, 0.7, 0.7)) * 255
    frames = []
    for frame in range(FRAMES):
        inside = (x - 20 - 18 * frame) ** 2 + (y - 48) ** 2 < 400
        frames.append(np.where(inside[..., None], disc, ground).astype(np.uint8))
    return np.stack(frames)


def finish(root: Path) -> None:
    """Run the two real stages there."""
    here = Path.cwd()
    os.chdir(root)
    try:
        for task in read_tasks():
            evaluate.main(task)
        report.main()
    finally:
        os.chdir(here)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run over three tasks with its reports. Read only."""
    root = tmp_path_factory.mktemp("finished")
    fabricate(root)
    finish(root)
    return root


@pytest.fixture
def run_of(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Make a finished run of so many tasks."""

    def make(tasks: int) -> Path:
        fabricate(tmp_path, tasks)
        finish(tmp_path)
        return tmp_path

    yield make
