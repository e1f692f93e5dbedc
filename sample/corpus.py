"""Generates the sample corpus: ``python -m sample.corpus OUT``."""

import csv
import json
import math
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from random import Random
from typing import Annotated

import typer

from sample import video
from sample.captions import captions, vocabulary
from sample.catalogue import CATEGORIES, Category
from sample.scenes import Scene, Split, evaluation, frames, training

TRAINING = 24
SIZES: dict[Split, int] = {"train": TRAINING, "val": 10, "test": 20}
DEVELOPMENT_SIZES: dict[Split, int] = {"train": TRAINING, "val": 20, "test": 20}
CAPTIONS: dict[Split, int] = {"train": 8, "val": 2, "test": 2}


@dataclass(frozen=True, slots=True)
class Clip:
    """A video to be written, with its captions."""

    video: str
    scene: Scene
    captions: tuple[str, ...]
    category: str
    split: Split


def clips(category: Category, seed: int = 0, development: bool = False, train: int = TRAINING) -> list[Clip]:
    """Plan the clips of one category, `train` of them for training. Equal arguments give equal clips.

    A larger `train` only appends training clips. Validation and test clips do not change.
    """
    name = f"{'development' if development else 'sample'} {seed}"
    sizes = DEVELOPMENT_SIZES if development else SIZES
    planned: list[Clip] = []
    for split in ("val", "test", "train"):
        scenes = (
            islice(training(category, name), train)
            if split == "train"
            else evaluation(category, split, sizes[split], name)
        )
        random = Random(f"{name} {split} captions of {category.slug}")
        for scene in scenes:
            texts = tuple(captions(scene, CAPTIONS[split], random))
            video = f"{category.slug}/{category.slug}-{len(planned):03d}.mp4"
            planned.append(Clip(video, scene, texts, category.name, split))
    return planned


def long_tail(ratio: int) -> dict[str, int]:
    """Training videos of each category: a geometric series from 2 in the rarest to 2 * ratio in the most frequent.

    Consecutive categories are 7 steps apart in the series, modulo its length. So each task has large and small
    categories, and tasks differ in size.
    """
    last = len(CATEGORIES) - 1
    places = {category.slug: 7 * number % len(CATEGORIES) for number, category in enumerate(CATEGORIES)}
    return {slug: round(2 * math.pow(ratio, 1 - place / last)) for slug, place in places.items()}


def all_clips(seed: int, development: bool, imbalance: int) -> list[Clip]:
    """The clips of all categories. With an `imbalance` above 1 there are fewer for training, see `long_tail`."""
    sizes = long_tail(imbalance) if imbalance > 1 else {}
    return [
        clip
        for category in CATEGORIES
        for clip in clips(category, seed, development, sizes.get(category.slug, TRAINING))
    ]


def render(root: Path, clip: Clip) -> None:
    """Draw and write the video of a clip."""
    path = root / "videos" / clip.video
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part.mp4")
    video.write(part, frames(clip.scene))
    part.replace(path)


def write_captions(root: Path, planned: list[Clip]) -> None:
    """Write ``captions.csv`` with a row for each caption."""
    root.mkdir(parents=True, exist_ok=True)
    with (root / "captions.csv").open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["video", "caption", "category", "split"])
        for clip in planned:
            rows.writerows([clip.video, text, clip.category, clip.split] for text in clip.captions)


def write_held_out(root: Path, planned: list[Clip]) -> None:
    """Write ``held-out.csv``: the validation and test videos of things that no training caption names."""
    rows = [f"{clip.video},{clip.scene.thing.phrase},{clip.split}" for clip in planned if clip.scene.held_out]
    (root / "held-out.csv").write_text("\n".join(["video,thing,split", *rows]) + "\n", encoding="utf-8")


def name_words(clip: Path) -> None:
    """List the corpus's words in the config.json of folder `clip`. The pipeline refuses it for captions with others."""
    config = clip / "config.json"
    settings = json.loads(config.read_text(encoding="utf-8")) | {"structalign_sample": sorted(vocabulary())}
    config.unlink()  # it may be a link into DVC's cache
    config.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def main(
    out: Annotated[
        Path, typer.Argument(help="Folder for videos/ and the tables. A CLIP in its clip/ gets the list of words.")
    ],
    seed: Annotated[int, typer.Option(help="Another seed gives another corpus.")] = 0,
    development: Annotated[
        bool, typer.Option("--development", help="Make 20 validation videos a category, to choose options.")
    ] = False,
    imbalance: Annotated[
        int, typer.Option(min=1, help="Training videos of the largest category over the smallest's. 1: 24 in each.")
    ] = 1,
    jobs: Annotated[int, typer.Option(help="Processes that draw and encode.")] = 2,
) -> None:
    """Generate the videos, captions.csv and held-out.csv of the sample into OUT."""
    planned = all_clips(seed, development, imbalance)
    write_captions(out, planned)
    write_held_out(out, planned)
    if (out / "clip").is_dir():
        name_words(out / "clip")
    with ProcessPoolExecutor(jobs) as pool:
        for _ in pool.map(render, [out] * len(planned), planned, chunksize=16):
            pass
    size = sum(path.stat().st_size for path in (out / "videos").rglob("*.mp4"))
    typer.echo(f"{len(planned)} clips, {size / 1e6:.1f} MB, in {out}")


if __name__ == "__main__":
    typer.run(main)
