"""A published setting from frames to metrics, on synthetic videos: every stage after decoding, as a user runs it.

Frames are noise, captions are random words, and CLIP has random weights of ViT-B/32's shape. Sizes, steps and
hyper-parameters are those of the preset. Decoding is left out, since it depends on the disk and the processor. Each
stage is a process. There are three lanes (features; train; embed and evaluate), which run in parallel as far as their
inputs allow.
"""

import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Annotated, Any

import numpy as np
import typer

from structalign.data.captions import CaptionRow
from structalign.data.frame_store import write_split
from structalign.data.manifest import SPLITS
from structalign.data.manifest_writer import write_manifest
from structalign.data.tasks import split_categories, write_tasks
from structalign.errors import UserError
from structalign.formats import INDEX_FORMAT
from structalign.params.schema import overlay
from structalign.store import read_json, write_json
from structalign.strict_yaml import dump_yaml, load_yaml, parse_yaml

ROOT = Path(__file__).parents[1]
WORDS = (
    "cat",
    "dog",
    "bunny",
    "bird",
    "fish",
    "hops",
    "swims",
    "flies",
    "runs",
    "jumps",
    "left",
    "right",
    "up",
    "down",
)
# (categories, training videos a category, captions a training video, test videos, height, width)
SETTINGS = {
    "msrvtt-10": (20, 16, 20, 2990, 224, 299),
    "msrvtt-20": (20, 16, 20, 2990, 224, 299),
    "actnet-10": (200, 16, 1, 4910, 224, 398),
    "actnet-20": (200, 16, 1, 4910, 224, 398),
}


def paper(
    setting: Annotated[str, typer.Option(help=f"{', '.join(SETTINGS)}")] = "msrvtt-10",
    folder: Annotated[Path, typer.Option(help="folder for the new project")] = Path("paper"),
    tokeniser: Annotated[Path, typer.Option(help="a CLIP's folder, for its tokenizer files")] = Path("data/clip"),
    tasks: Annotated[int, typer.Option(help="only run this many tasks; 0: all")] = 0,
    share: Annotated[float, typer.Option(help="share of the videos to make")] = 1.0,
    turn: Annotated[
        list[str] | None, typer.Option(help="key=value that replaces the preset's, such as backbone.precision=bf16")
    ] = None,
    json: Annotated[Path, typer.Option("--json", help="file for the results")] = Path("paper.json"),
) -> None:
    """A published setting end to end, on synthetic videos."""
    start = time.perf_counter()
    keys = lay(setting, folder, tokeniser, share, tasks, turn or [])
    laid, begun = time.perf_counter() - start, time.perf_counter()
    done = run(keys, folder)
    row = {
        "setting": setting,
        "turned": turn or [],
        "tasks": keys,
        "share": share,
        "seconds_laying": round(laid, 1),
        "seconds": round(time.perf_counter() - begun, 1),
        "stages": done,
        "costs": {str(file.relative_to(folder)): read_json(file) for file in sorted(folder.glob(".costs/*/*.json"))},
    }
    write_json(json, row)
    typer.echo(f"{setting}: {row['seconds']} s, by stage {done}")


def lay(setting: str, folder: Path, tokeniser: Path, share: float, first: int, turned: list[str]) -> list[str]:
    """Write all inputs of `features`, with frames of the `first` tasks (0: of all). Returns the tasks' keys."""
    categories, train, captions, test, height, width = SETTINGS[setting]
    if folder.exists():
        raise UserError(f"{folder} exists already: name another one with --folder.")
    folder.mkdir(parents=True)
    params = preset(setting, load_yaml(ROOT / "params.yaml"))
    count = params.pop("tasks")
    for text in turned:
        key, _, value = text.partition("=")
        *sections, last = key.split(".")
        tree = params
        for section in sections:
            tree = tree[section]
        tree[last] = parse_yaml(value, key)
    (folder / "params.yaml").write_text(dump_yaml(params), encoding="utf-8")
    dealt = split_categories([f"category {number}" for number in range(categories)], count)
    write_tasks(dealt, folder / "tasks.yaml")
    rows = list(table(categories, round(share * train), captions, round(share * test)))
    write_manifest(rows, dealt, {row.video: "0" * 64 for row in rows}, folder / "work/manifest", [], {})
    noise = np.random.default_rng(0).integers(0, 256, (64, height, width, 3), dtype=np.uint8)
    keys = list(dealt)[: first or None]
    for key in keys:
        write_frames(folder, key, params["frames"]["per_video"], noise)
    write_backbone(folder / "work/backbone", tokeniser)
    write_json(folder / "checkpoints/t00/config.json", {"backbone": "random ViT-B/32", "tasks": [], "method": None})
    write_json(folder / "work/index/t00.json", {"format": INDEX_FORMAT, "galleries": []})
    return keys


def preset(name: str, params: dict[str, Any]) -> dict[str, Any]:
    """The parameters after applying a preset and the presets that it extends."""
    layer = load_yaml(ROOT / f"presets/{name}.yaml")
    for base in layer.pop("presets", []):
        params = preset(base, params)
    overlay(params, layer)
    return params


def table(categories: int, train: int, captions: int, test: int) -> Iterator[CaptionRow]:
    """Captions of 6 to 16 random words. All categories together have `test` test videos, with one caption each."""
    source, number = random.Random(0), 1
    for category in range(categories):
        tested = (category + 1) * test // categories - category * test // categories
        for split, videos, each in (("train", train, captions), ("test", tested, 1)):
            for video in range(videos):
                for _ in range(each):
                    number += 1
                    text = " ".join(source.choices(WORDS, k=source.randint(6, 16)))
                    name = f"{split}-{category}-{video}.mp4"
                    yield CaptionRow(number, name, text, f"category {category}", split, None, None)  # type: ignore[arg-type]


def write_frames(folder: Path, task: str, frames: int, noise: "np.ndarray[Any, np.dtype[np.uint8]]") -> None:
    """Write frames of a task's videos as the frames stage does, cut out of `noise`."""
    videos = read_json(folder / f"work/manifest/{task}/videos.json")["videos"]
    times = [(frame + 0.5) / frames for frame in range(frames)]
    source = random.Random(task)
    for split in SPLITS:
        mine = [video for video in videos if video["split"] == split]
        rows = [{"id": v["id"], "category": v["category"], "file": v["file"]} for v in mine]
        clips = (
            (row | {"start": 0.0, "duration": 1.0, "times": times}, noise[source.choices(range(len(noise)), k=frames)])
            for row in rows
        )
        write_split(folder / "work/frames" / task / split, clips)


def write_backbone(folder: Path, tokeniser: Path) -> None:
    """Write a CLIP of ViT-B/32's shape with random weights and another CLIP's tokenizer."""
    from transformers.models.clip.configuration_clip import CLIPConfig
    from transformers.models.clip.modeling_clip import CLIPModel

    CLIPModel(CLIPConfig()).save_pretrained(folder)
    for file in tokeniser.iterdir():
        if file.name.startswith(("tokenizer", "vocab", "merges", "special")):
            shutil.copyfile(file, folder / file.name)
    processor = read_json(tokeniser / "preprocessor_config.json")
    size = {"size": {"shortest_edge": 224}, "crop_size": {"height": 224, "width": 224}}
    write_json(folder / "preprocessor_config.json", processor | size)


def run(keys: list[str], folder: Path) -> dict[str, float]:
    """Run the stages of all tasks in three lanes. Returns the seconds of each stage."""
    done: dict[str, float] = {}
    ended = {f"{stage} {key}": Event() for key in keys for stage in ("features", "train", "embed")}
    failed: list[str] = []

    def stage(name: str, key: str, *more: str, after: tuple[str, ...] = ()) -> None:
        for other in after:
            if other in ended:
                ended[other].wait()
        try:
            if not failed:
                start = time.perf_counter()
                command = [sys.executable, "-m", f"stages.{name}", key, *more]
                paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
                environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
                subprocess.run(command, cwd=folder, env=environment, check=True)
                done[f"{name} {key}"] = round(time.perf_counter() - start, 2)
        except subprocess.CalledProcessError:
            failed.append(f"{name} {key}")
        finally:
            if f"{name} {key}" in ended:
                ended[f"{name} {key}"].set()

    def previous(number: int) -> str:
        return keys[number - 1] if number else "t00"

    def features() -> None:
        for key in keys:
            stage("features", key)

    def train() -> None:
        for number, key in enumerate(keys):
            stage("train", key, after=(f"features {key}", f"train {previous(number)}"))

    def embed() -> None:
        for number, key in enumerate(keys):
            stage("embed", key, previous(number), after=(f"train {key}", f"embed {previous(number)}"))
            stage("evaluate", key)

    lanes: list[Callable[[], None]] = [features, train, embed]
    with ThreadPoolExecutor(len(lanes)) as pool:
        for lane in [pool.submit(lane) for lane in lanes]:
            lane.result()
    if failed:
        raise SystemExit(f"error: the stage {failed[0]} failed in {folder}.")
    return done
