"""Generates the sample corpus: ``python -m sample.corpus OUT``."""

import csv
import math
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Annotated

import typer

from sample import video
from sample.captions import captions
from sample.catalogue import CATEGORIES, Category
from sample.scenes import Scene, Split, frames, plan

SIZES: dict[Split, int] = {"train": 16, "val": 10, "test": 20}
DEVELOPMENT_SIZES: dict[Split, int] = {"train": 16, "val": 100, "test": 20}
CAPTIONS: dict[Split, int] = {"train": 8, "val": 2, "test": 2}
SEARCHED = "a bunny hops from left to right"
"""The sentence that the project's README searches for: one test video is captioned with it."""


@dataclass(frozen=True, slots=True)
class Clip:
    """A video to be written, with its captions."""

    video: str
    scene: Scene
    captions: tuple[str, ...]
    category: str
    split: Split


def clips(category: Category, seed: int = 0, development: bool = False) -> list[Clip]:
    """Plan the clips of one category; the same arguments always give the same clips."""
    random = Random(f"{'development' if development else 'sample'} {seed} {category.slug}")
    things = category.others if development else category.things
    planned: list[Clip] = []
    sizes = DEVELOPMENT_SIZES if development else SIZES
    for split, size in sizes.items():
        scenes = plan(category, things, size, random)
        if category.slug == "mammals" and split == "test" and not development:
            scenes = with_rabbit(scenes, category)
        for scene in scenes:
            texts = captions(scene, CAPTIONS[split], random)
            if is_rabbit(scene) and split == "test":
                texts = [SEARCHED, *(text for text in texts if text != SEARCHED)][: len(texts)]
            name = f"{category.slug}/{category.slug}-{len(planned):03d}.mp4"
            planned.append(Clip(name, scene, tuple(texts), category.name, split))
    return planned


def long_tail(ratio: int) -> dict[str, int]:
    """Training videos a category: 2 in the rarest, 2 * ratio in the most frequent, a geometric series between.

    Places in the series go round in steps of 7, so that each task has large and small categories and tasks differ
    in size.
    """
    last = len(CATEGORIES) - 1
    places = {category.slug: 7 * number % len(CATEGORIES) for number, category in enumerate(CATEGORIES)}
    return {slug: round(2 * math.pow(ratio, 1 - place / last)) for slug, place in places.items()}


def resized(planned: list[Clip], category: Category, size: int, seed: int, development: bool) -> list[Clip]:
    """The clips of a category with `size` for training: the first of those planned, or all and new ones after them.

    Validation and test clips stay as they are, and so do names.
    """
    train = [clip for clip in planned if clip.split == "train"]
    kept = [clip for clip in planned if clip.split != "train" or clip in train[:size]]
    random = Random(f"{'development' if development else 'sample'} {seed} {category.slug} more")
    things = category.others if development else category.things
    for number, scene in enumerate(plan(category, things, max(0, size - len(train)), random), start=len(planned)):
        texts = tuple(captions(scene, CAPTIONS["train"], random))
        kept.append(Clip(f"{category.slug}/{category.slug}-{number:03d}.mp4", scene, texts, category.name, "train"))
    return kept


def is_rabbit(scene: Scene) -> bool:
    """Whether a scene shows the bunny that hops to the right."""
    return scene.thing.phrase == "a bunny" and scene.motion == "right"


def with_rabbit(scenes: list[Scene], category: Category) -> list[Scene]:
    """Make sure that one of ``scenes`` shows the bunny hopping to the right."""
    if any(is_rabbit(scene) for scene in scenes):
        return scenes
    first = next(n for n, scene in enumerate(scenes) if scene.thing.phrase == "a bunny")
    hop = replace(scenes[first], motion="right", other=None)
    return [*scenes[:first], hop, *scenes[first + 1 :]]


def render(root: Path, clip: Clip) -> None:
    """Draw and write the video of a clip."""
    path = root / "videos" / clip.video
    path.parent.mkdir(parents=True, exist_ok=True)
    video.write(path, frames(clip.scene))


def write_captions(root: Path, planned: list[Clip]) -> None:
    """Write ``captions.csv``, a row for each caption."""
    root.mkdir(parents=True, exist_ok=True)
    with (root / "captions.csv").open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["video", "caption", "category", "split"])
        for clip in planned:
            rows.writerows([clip.video, text, clip.category, clip.split] for text in clip.captions)


def main(
    out: Annotated[Path, typer.Argument(help="Folder for videos/ and captions.csv.")],
    seed: Annotated[int, typer.Option(help="Another seed gives another corpus.")] = 0,
    development: Annotated[
        bool, typer.Option("--development", help="Larger, other things: to choose options on.")
    ] = False,
    imbalance: Annotated[
        int, typer.Option(min=1, help="Training videos of the largest category to one of the smallest; 1: 16 in all.")
    ] = 1,
    jobs: Annotated[int, typer.Option(help="Processes that draw and encode.")] = 2,
) -> None:
    """Generate the videos and captions of the sample into OUT."""
    sizes = long_tail(imbalance) if imbalance > 1 else {}
    planned = []
    for category in CATEGORIES:
        own = clips(category, seed, development)
        if sizes:
            own = resized(own, category, sizes[category.slug], seed, development)
        planned += own
    write_captions(out, planned)
    with ProcessPoolExecutor(jobs) as pool:
        for _ in pool.map(render, [out] * len(planned), planned, chunksize=16):
            pass
    size = sum(path.stat().st_size for path in (out / "videos").rglob("*.mp4"))
    typer.echo(f"{len(planned)} clips, {size / 1e6:.1f} MB, in {out}")


if __name__ == "__main__":
    typer.run(main)
