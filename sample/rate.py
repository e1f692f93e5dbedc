"""Chooses a method's learning rate on corpora of other seeds: ``python -m sample.rate METHOD SEED...``."""

from pathlib import Path
from typing import Annotated

import typer

from sample.runs import RATES, Jobs, Out, Run, Seeds, TinyClip, best, do, make, result, validation, workers


def main(
    method: Annotated[str, typer.Argument(help="The method's name, or `joint`.")],
    seeds: Seeds,
    out: Out = Path("criteria"),
    clip: TinyClip = Path("data/clip"),
    jobs: Jobs = 2,
) -> None:
    """Print validation R@1 of METHOD at each rate, and the rate that has the highest mean over SEEDS."""
    with workers(jobs) as pool:
        folders = make(seeds, out, clip, pool)
        do([Run(method, rate) for rate in RATES], folders.values(), pool)
    validated = validation(folders.values(), method)
    typer.echo(f"| rate | {' | '.join(f'seed {seed}' for seed in seeds)} | mean |\n{'|---' * (len(seeds) + 2)}|")
    for rate, average in validated.items():
        values = [result(folder, Run(method, rate))["val"] for folder in folders.values()]
        typer.echo(f"| {rate:g} | {' | '.join(f'{value:.1f}' for value in [*values, average])} |")
    typer.echo(f"\n{method} learns at {best(validated):g}")


if __name__ == "__main__":
    typer.run(main)
