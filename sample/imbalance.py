"""Makes an imbalanced development corpus with its features: ``python -m sample.imbalance RATIO``.

`sample.corpus.long_tail` has the number of training videos of each category. Validation and test are those of the
development corpus. `structalign sweep` runs in the folder.
"""

import csv
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from sample.corpus import Clip
from sample.runs import DEVELOPMENT_SEEDS, Jobs, Out, TinyClip, folder_of, make, plan, workers

Ratio = Annotated[int, typer.Argument(min=2, help="Training videos of the largest category over the smallest's.")]
Seed = Annotated[int, typer.Option(help="The development corpus: 1, 2 or 3.")]
Even = Annotated[
    Path | None, typer.Option(help="The data/ of the even corpus of the seed: its videos are copied, not drawn again.")
]


def main(
    ratio: Ratio,
    seed: Seed = DEVELOPMENT_SEEDS[0],
    out: Out = Path("imbalance"),
    clip: TinyClip = Path("data/clip"),
    jobs: Jobs = 2,
    even: Even = None,
) -> None:
    """Make the corpus and its features, and print its folder."""
    if even:
        copy(even, plan(seed, ratio), folder_of(out, seed, ratio) / "data")
    with workers(jobs) as pool:
        (folder,) = make([seed], out, clip, pool, ratio).values()
    typer.echo(folder)


def copy(source: Path, planned: Iterable[Clip], target: Path) -> None:
    """Copy the planned videos that another corpus has, under their names and with their captions."""
    captions: dict[str, list[str]] = {}
    with (source / "captions.csv").open(encoding="utf-8", newline="") as rows:
        for row in csv.DictReader(rows):
            captions.setdefault(row["video"], []).append(row["caption"])
    for clip in planned:
        if captions.get(clip.video) == [*clip.captions]:
            path = target / "videos" / clip.video
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source / "videos" / clip.video, path)


if __name__ == "__main__":
    typer.run(main)
