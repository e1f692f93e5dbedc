"""A synthetic finished run: scores, logs and thumbnails of videos that do not exist."""

import colorsys
import json
import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from stages import evaluate, report
from structalign.data.tasks import read_tasks, split_categories, write_tasks
from structalign.data.thumbnails import encode, write_thumbs
from structalign.store import write_json

ROOT = Path(__file__).parents[1]
VIDEOS, FRAMES = 12, 4
NAMES = ["cat", "dog", "owl", "eel", "bee", "ant", "fig", "pea", "pie", "tea", "oak", "bus"]
SIGNAL = {
    "method.words": (2.4, -0.35),
    "method.sentence": (2.0, -0.3),
    "zero_shot.words": (1.4, 0.0),
    "zero_shot.sentence": (1.4, 0.0),
}


def fabricate(root: Path, tasks: int, per_task: int = VIDEOS) -> None:
    """Write all inputs of evaluate and report below `root`. Task 1 has one broken and one missing video."""
    rng = np.random.default_rng(0)
    shutil.copy(ROOT / "params.yaml", root / "params.yaml")
    write_tasks(split_categories([f"{NAMES[i % 12]} {i}" for i in range(2 * tasks)], tasks), root / "tasks.yaml")
    keys = list(read_tasks(root / "tasks.yaml"))
    missing = {"file": "gone.mp4", "rows": [7, 8], "reason": "the file is missing"}
    for number, task in enumerate(keys, start=1):
        for split in ("test", "val"):
            _scores(root / "work/scores" / task, split, keys[:number], per_task, rng)
        pictures = ((f"{task}/{i}.mp4", encode(_pictures(number, i))) for i in range(per_task))
        write_thumbs(root / "work/thumbs" / task, pictures)
        _log(root / f"work/logs/{task}.jsonl", number, rng)
        _geometry(root / "work/geometry" / task, number, rng)
        # every fourth training video belongs to the task's second category: a head and a tail
        videos = [
            {"id": f"{i}", "file": f"{i}.mp4", "sha256": "", "start": None, "end": None}
            | {"split": "train", "category": 2 * (number - 1) + (i % 4 == 0)}
            for i in range(per_task)
        ]
        write_json(root / f"work/manifest/{task}/videos.json", {"videos": videos})
        broken = {"id": "x.mp4", "file": "x.mp4", "split": "train", "reason": "no video stream"}
        write_json(root / f"work/quarantine/{task}.json", {"videos": [broken] if number == 1 else []})
    named = {task: {"train": 1, "val": per_task, "test": per_task} for task in keys}
    write_json(root / "work/manifest/report.json", {"skipped": [missing], "named": named, "there": named})


def _scores(folder: Path, split: str, keys: list[str], per_task: int, rng: np.random.Generator) -> None:
    """Noise, and a signal on every query's ground truth. The method's signal fades with the age of the task."""
    videos: list[dict[str, Any]] = [
        {
            "id": f"{key}/{i}.mp4",
            "file": f"{key}/{i}.mp4",
            "task": key,
            "category": 2 * number + i % 2,
            "times": [0.0, 0.5, 1.0, 1.5],
            "start": 0.0,
            "duration": 2.0,
        }
        for number, key in enumerate(keys)
        for i in range(per_task)
    ]
    queries = [
        {
            "text": f"a {NAMES[video['category'] % 12]} drives from left to right <b>&</b> back",
            "video": video["id"],
            "task": video["task"],
            "category": video["category"],
        }
        for video in videos
        for _ in range(2)
    ]
    write_json(folder / f"{split}.json", {"task": keys[-1], "queries": queries, "videos": videos})
    owner = np.repeat(np.arange(len(videos)), 2)
    age = len(keys) - 1 - np.repeat(np.arange(len(keys)), 2 * per_task)
    own = np.eye(len(videos))[owner]
    scores = {
        name: (own * (strength + fading * age)[:, None] + rng.normal(size=own.shape)).astype(np.float32)
        for name, (strength, fading) in SIGNAL.items()
    }
    frames = {"best_frame": rng.integers(0, FRAMES, own.shape).astype(np.uint8)}
    save_file(scores | frames, folder / f"{split}.safetensors")
    write_json(folder / "sizes.json", {"trained_parameters": 123_456, "stored_bytes_per_video": 4096})


def _geometry(folder: Path, number: int, rng: np.random.Generator) -> None:
    """Prototypes of all seen categories and synthetic collapse measures. Validation has none."""
    count = 2 * number
    measures = dict.fromkeys(("NC1", "NC2_norms", "NC2_angles", "NC3", "NC4"), 0.1 * number)
    write_json(folder / "collapse.json", {"test": {"text": measures, "video": None if number == 1 else measures}})
    text, video = (rng.normal(size=(count, 8)).astype(np.float32) for _ in range(2))
    save_file({"category": np.arange(count), "text": text, "video": video}, folder / "test.safetensors")


def _log(path: Path, number: int, rng: np.random.Generator) -> None:
    lines = []
    for step in range(150):
        row = {"step": step, "epoch": step // 20, "lr": 1e-3, "grad_norm": 1.0}
        row |= {name: math.exp(-step / 60) + rng.random() / 5 for name in ("loss", "contrastive", "etf")}
        if number > 1:
            row |= {"crp": 0.2 + rng.random() / 20, "pseudo": 1.5}
        if step % 20 == 0:
            row |= {"share_contrastive": 0.9, "share_etf": 0.1, "angle_etf": 80 + rng.random()}
        lines.append(json.dumps(row) + "\n")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(lines))


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
    fabricate(root, 3)
    finish(root)
    return root


@pytest.fixture
def unfinished(tmp_path: Path) -> Callable[[int], Path]:
    """Make a run of some tasks without evaluate and report."""

    def make(tasks: int) -> Path:
        fabricate(tmp_path, tasks)
        return tmp_path

    return make


@pytest.fixture
def finishing() -> Callable[[Path], None]:
    """Run evaluate and report in a folder."""
    return finish


@pytest.fixture
def run_of(unfinished: Callable[[int], Path]) -> Callable[[int], Path]:
    """Make a finished run of some tasks."""

    def make(tasks: int) -> Path:
        root = unfinished(tasks)
        finish(root)
        return root

    return make
