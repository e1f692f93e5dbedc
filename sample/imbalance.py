"""Makes an imbalanced development corpus with its features: ``python -m sample.imbalance RATIO``.

`sample.corpus.long_tail` has the number of training videos of each category. Validation and test are those of the
development corpus. `structalign sweep` runs in the folder.
"""

from pathlib import Path
from typing import Annotated

import typer

from sample.runs import DEVELOPMENT_SEEDS, Jobs, Out, TinyClip, make, workers

Ratio = Annotated[int, typer.Argument(min=2, help="Training videos of the largest category over the smallest's.")]
Seed = Annotated[int, typer.Option(help="The development corpus: 1, 2 or 3.")]


def main(
    ratio: Ratio,
    seed: Seed = DEVELOPMENT_SEEDS[0],
    out: Out = Path("imbalance"),
    clip: TinyClip = Path("data/clip"),
    jobs: Jobs = 2,
) -> None:
    """Make the corpus and its features, and print its folder."""
    with workers(jobs) as pool:
        (folder,) = make([seed], out, clip, pool, ratio).values()
    typer.echo(folder)


if __name__ == "__main__":
    typer.run(main)
