"""Measures whether a corpus shows forgetting: ``python -m sample.criteria SEED...`` (the rule is in DESIGN.md)."""

from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Annotated, Any

import numpy as np
import typer

from sample.captions import fits
from sample.catalogue import CATEGORIES
from sample.corpus import Clip
from sample.runs import (
    RATES,
    Jobs,
    Out,
    Run,
    Seeds,
    TinyClip,
    best,
    do,
    make,
    plan,
    result,
    validation,
    workers,
)
from sample.scenes import Scene
from sample.words import told_by_words
from structalign.store import write_json

BEST_NAIVE = "naive's best rate"


def main(
    seeds: Seeds,
    out: Out = Path("criteria"),
    clip: TinyClip = Path("data/clip"),
    jobs: Jobs = 2,
    rates: Annotated[str, typer.Option(help="Learning rates, separated by commas.")] = ",".join(map(str, RATES)),
) -> None:
    """Print the criteria of the corpora of SEEDS, at the rate with joint's highest validation R@1."""
    tried = [float(rate) for rate in rates.split(",")]
    with workers(jobs) as pool:
        folders = make(seeds, out, clip, pool)
        do([Run(kind, rate) for kind in ("joint", "finetune") for rate in tried], folders.values(), pool)
        validated = {kind: validation(folders.values(), kind, tried) for kind in ("joint", "finetune")}
        chosen, naive = best(validated["joint"]), best(validated["finetune"])
        do([Run("shuffled", chosen)], folders.values(), pool)
    rows = {seed: criteria(folder, seed, chosen, naive) for seed, folder in folders.items()}
    table = {"rate": chosen, BEST_NAIVE: naive, "validation": validated, "seeds": rows}
    write_json(out / f"criteria-{'-'.join(map(str, seeds))}.json", table)
    typer.echo(as_text(table))


def criteria(folder: Path, seed: int, rate: float, naive_rate: float) -> dict[str, float]:
    """All criteria of one seed, by name."""
    joint, naive = result(folder, Run("joint", rate)), result(folder, Run("finetune", rate))
    frozen = max((naive[name] for name in ("words and sentence", "sentence")), key=lambda found: float(found["test"]))
    learned, tuned = naive["method"], result(folder, Run("finetune", naive_rate))["method"]
    return {
        "zero-shot": frozen["test"],
        "joint": joint["test"],
        "joint less zero-shot": joint["test"] - frozen["test"],
        "naive": learned["test"],
        "naive at its best rate": tuned["test"],
        "naive just learned less zero-shot": learned["own task, just learned"] - frozen["own task, just learned"],
        "BWF task": learned["BWF task"],
        "BWF seen less zero-shot's": learned["BWF seen"] - frozen["BWF seen"],
        "shuffled joint less zero-shot": result(folder, Run("shuffled", rate))["test"] - frozen["test"],
        **of_words(plan(seed)),
        "MB": sum(path.stat().st_size for path in (folder / "data").rglob("*") if path.is_file()) / 1e6,
    }


def of_words(planned: Sequence[Clip]) -> dict[str, float]:
    """The criteria that only read captions, in percent of the test captions."""
    numbers = {category.name: number // 2 for number, category in enumerate(CATEGORIES)}
    rows = {
        split: [(text, clip) for clip in planned if clip.split == split for text in clip.captions]
        for split in ("train", "test")
    }
    label, truth = (np.array([numbers[clip.category] for _, clip in rows[split]]) for split in ("train", "test"))
    train, test = ([text for text, _ in rows[split]] for split in ("train", "test"))
    held_out = np.array([clip.scene.held_out for _, clip in rows["test"]])
    right = told_by_words(train, label, test, truth)
    by_word: dict[str, list[Scene]] = {}
    for clip in planned:
        if clip.split == "test":
            by_word.setdefault(clip.scene.thing.phrase, []).append(clip.scene)
    fitting = [sum(fits(text, scene) for scene in by_word[clip.scene.thing.phrase]) for text, clip in rows["test"]]
    return {
        "task by words": max(100 * float(told.mean()) for told in right.values()),
        "the same, held-out objects": max(100 * float(told[held_out].mean()) for told in right.values()),
        "equal to a training caption": 100 * mean(text in set(train) for text in test),
        "about held-out objects": 100 * float(held_out.mean()),
        "fit two videos": 100 * mean(count > 1 for count in fitting),
    }


def as_text(table: dict[str, Any]) -> str:
    """The table as Markdown."""
    seeds = table["seeds"]
    lines = [f"rate {table['rate']:g} (naive at its best: {table[BEST_NAIVE]:g})", ""]
    lines += [f"| criterion | {' | '.join(f'seed {seed}' for seed in seeds)} | mean |", "|---" * (len(seeds) + 2) + "|"]
    for name in next(iter(seeds.values())):
        values = [row[name] for row in seeds.values()]
        lines.append(f"| {name} | {' | '.join(f'{value:.1f}' for value in [*values, mean(values)])} |")
    return "\n".join(lines)


if __name__ == "__main__":
    typer.run(main)
