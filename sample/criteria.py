"""Measures what a corpus can measure: ``python -m sample.criteria SEED...`` (DESIGN.md has the rule).

Everything of a seed is kept in OUT/seed-N as it ends, and what is there is not made again: its corpus, the frames and
features that all runs share, and the JSON file of each run.
"""

import multiprocessing
import os
import shutil
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import chdir
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean
from typing import Annotated, Any

import numpy as np
import torch
import typer

from sample.captions import fits
from sample.catalogue import CATEGORIES
from sample.corpus import Clip, clips, name_words, render, write_captions, write_held_out
from sample.scenes import Scene
from sample.words import told_by_words
from stages import features, frames, prepare
from structalign.data.tasks import key, read_tasks, split_categories, write_tasks
from structalign.evaluation.continual import backward_forgetting
from structalign.evaluation.metrics import measure
from structalign.evaluation.ranks import rank
from structalign.learning.init_task import backbone, from_scratch
from structalign.learning.methods.finetune import METHOD
from structalign.learning.settings import Settings, read_settings
from structalign.learning.trainer import Trainer
from structalign.model.backbone import Tokeniser
from structalign.model.features import Captions, Features, JoinedFeatures, VideoSource
from structalign.params.losses import acting
from structalign.params.optim import Phase
from structalign.params.ranking import Ranking
from structalign.params.reading import read
from structalign.params.schema import validate
from structalign.paths import BACKBONE, FEATURES, LOSSES, MANIFEST
from structalign.search.encoder import Encoder
from structalign.search.index import Gallery
from structalign.search.scoring import score_queries
from structalign.search.similarity_heads import HEADS
from structalign.store import read_json, write_json
from structalign.strict_yaml import dump_yaml, load_yaml

ROOT = Path(__file__).parents[1]
TASKS = 10
RATES = (5e-4, 1e-3, 2e-3, 3e-3, 5e-3, 8e-3)
DEVELOPMENT_SEEDS = (1, 2, 3)
RANKINGS = ("method", "words and sentence", "sentence")
BEST_NAIVE = "naive's best rate"
WORDS_AND_SENTENCE, SENTENCE = Ranking(beta=0.5, task_prior=0), Ranking(beta=0, task_prior=0)


@dataclass(frozen=True)
class Run:
    """`joint`, `shuffled` (joint on shuffled captions) or `naive`, at a learning rate."""

    kind: str
    rate: float

    @property
    def file(self) -> Path:
        """Where its result is kept, in the folder of the seed."""
        return Path("runs", f"{self.kind}-{self.rate:g}.json")


def main(
    seeds: Annotated[
        list[int], typer.Argument(help="Development seeds are 1, 2 and 3; 0 is the sample that is committed.")
    ],
    out: Annotated[Path, typer.Option(help="Folder of everything that is made.")] = Path("criteria"),
    clip: Annotated[Path, typer.Option(help="The tiny CLIP.")] = Path("data/clip"),
    jobs: Annotated[int, typer.Option(help="Runs at a time, of one thread each.")] = 2,
    epochs: Annotated[int, typer.Option(help="Epochs of a task.")] = 0,
    rates: Annotated[str, typer.Option(help="Learning rates, separated by commas.")] = ",".join(map(str, RATES)),
) -> None:
    """Print the criteria of the corpora of SEEDS, at the rate that suits joint best on their validation videos."""
    os.environ |= {"OMP_NUM_THREADS": "1", "STRUCTALIGN_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    tried = [float(rate) for rate in rates.split(",")]
    folders = {seed: (out / f"seed-{seed}").absolute() for seed in seeds}
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn"), max_tasks_per_child=1) as pool:
        for seed, folder in folders.items():
            make_corpus(folder, seed, clip.absolute(), epochs, pool)
        for made in [
            pool.submit(make_features, folder, key(n + 1)) for folder in folders.values() for n in range(TASKS)
        ]:
            made.result()
        runs = [Run(kind, rate) for kind in ("joint", "naive") for rate in tried]
        for done in [pool.submit(keep, folder, run) for folder in folders.values() for run in runs]:
            done.result()
        chosen = best(folders.values(), "joint", tried)
        for done in [pool.submit(keep, folder, Run("shuffled", chosen)) for folder in folders.values()]:
            done.result()
    naive = best(folders.values(), "naive", tried)
    rows = {seed: criteria(folder, seed, chosen, naive) for seed, folder in folders.items()}
    validation = {
        kind: {rate: mean(result(folder, Run(kind, rate))["val"] for folder in folders.values()) for rate in tried}
        for kind in ("joint", "naive")
    }
    table = {"rate": chosen, BEST_NAIVE: naive, "validation": validation, "seeds": rows}
    write_json(out / f"criteria-{'-'.join(map(str, seeds))}.json", table)
    typer.echo(as_text(table))


def make_corpus(folder: Path, seed: int, clip: Path, epochs: int, pool: ProcessPoolExecutor) -> None:
    """Write the corpus, the settings and the manifest of a seed."""
    if (folder / "work/manifest/report.json").exists():
        return
    planned = plan(seed)
    write_captions(folder / "data", planned)
    write_held_out(folder / "data", planned)
    missing = [clip for clip in planned if not (folder / "data/videos" / clip.video).exists()]
    for _ in pool.map(render, [folder / "data"] * len(missing), missing, chunksize=16):
        pass
    shutil.copytree(clip, folder / "data/clip", dirs_exist_ok=True)
    name_words(folder / "data/clip")
    params = load_yaml(ROOT / "params.yaml")
    for phase in ("first", "later"):
        params["optim"][phase]["epochs"] = epochs or params["optim"][phase]["epochs"]
    (folder / "params.yaml").write_text(dump_yaml(params), encoding="utf-8")
    with chdir(folder):
        write_tasks(split_categories([category.name for category in CATEGORIES], TASKS), Path("tasks.yaml"))
        valid = validate(params)
        for number, task in enumerate(read_tasks(), start=1):
            write_json(LOSSES / f"{task}.json", acting(valid, number))
        prepare.main()


def plan(seed: int) -> list[Clip]:
    """The clips of a seed: seed 0 is the committed sample, the others are development corpora."""
    return [clip for category in CATEGORIES for clip in clips(category, seed, development=seed in DEVELOPMENT_SEEDS)]


def make_features(folder: Path, task: str) -> None:
    """Decode a task's videos and run the frozen part of CLIP over them."""
    with chdir(folder):
        if not (FEATURES / task / "test/index.json").exists():
            frames.main(task)
            features.main(task)


def keep(folder: Path, run: Run) -> None:
    """Do a run and keep its result."""
    with chdir(folder):
        if not run.file.exists():
            torch.set_num_threads(1)
            done = chain(run.rate) if run.kind == "naive" else joint(run.rate, shuffled=run.kind == "shuffled")
            write_json(run.file, done)


def settings_at(number: int, rate: float) -> Settings:
    """The settings of task `number` (from 1) with another learning rate."""
    phase = read("optim.first" if number == 1 else "optim.later", Phase)
    return read_settings(key(number), phase.model_copy(update={"lr": rate}))


class Shuffled:
    """Videos whose captions are those of other videos."""

    def __init__(self, videos: VideoSource):
        self.videos, self.views = videos, videos.views

    def __len__(self) -> int:
        return len(self.videos)

    def read(self, video: int, view: str = "centre") -> torch.Tensor:
        return self.videos.read(video, view)

    def captions(self) -> Captions:
        captions = self.videos.captions()
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(0))
        return replace(captions, video=order[captions.video])


def joint(rate: float, shuffled: bool) -> dict[str, Any]:
    """Learn all tasks at once; R@1 of both splits, and zero-shot CLIP's."""
    tasks, settings = list(read_tasks()), settings_at(1, rate)
    clip, device = backbone(BACKBONE)
    joined = JoinedFeatures([Features(FEATURES / task / "train") for task in tasks])
    videos: VideoSource = Shuffled(joined) if shuffled else joined
    model, memory = from_scratch(clip, METHOD, settings, joined.read(0).shape[0])
    Trainer(model, METHOD, videos, memory, 1, settings, device).fit(lambda row: None)
    encoder = Encoder(clip, model, HEADS["fused"], device)
    galleries = {
        split: [stored(encoder, task, n, 1, split) for n, task in enumerate(tasks, 1)] for split in ("val", "test")
    }
    return {split: search(encoder, galleries[split], tasks, split)["method"]["t2v"]["R@1"] for split in galleries}


def chain(rate: float) -> dict[str, Any]:
    """Learn the tasks one after the other without any defence against forgetting; what was learned and lost again, and
    the same of zero-shot CLIP by both of its rankings."""
    tasks = list(read_tasks())
    clip, device = backbone(BACKBONE)
    galleries: dict[str, list[Gallery]] = {"val": [], "test": []}
    over_time: dict[str, dict[str, Any]] = {}
    model, memory = None, None
    for number, task in enumerate(tasks, start=1):
        settings, videos = settings_at(number, rate), Features(FEATURES / task / "train")
        if model is None or memory is None:
            model, memory = from_scratch(clip, METHOD, settings, videos.read(0).shape[0])
        else:
            model.add_task(settings.seed, "task prototype", number)
            if number == 2:
                for mixture in model.mixtures():
                    mixture.spread_first_expert()
        trainer = Trainer(model, METHOD, videos, memory, number, settings, device)
        trainer.fit(lambda row: None)
        memory = trainer.remember(len(read_json(MANIFEST / task / "task.json")["categories"]))
        encoder = Encoder(clip, model, HEADS["fused"], device)
        for split, kept in galleries.items():
            kept.append(stored(encoder, task, number, number, split))
        over_time[task] = search(encoder, galleries["test"], tasks[:number], "test", None if number == TASKS else task)
    val = search(encoder, galleries["val"], tasks, "val")
    return {"val": val["method"]["t2v"]["R@1"]} | {name: summary(over_time, name) for name in RANKINGS}


def summary(over_time: dict[str, dict[str, Any]], name: str) -> dict[str, Any]:
    """What ranking `name` found after each task, in the few numbers that the criteria need."""
    tasks = list(over_time)
    acc = {kind: {task: over_time[task][name][f"acc_{kind}"] for task in tasks} for kind in ("seen", "task")}
    weight = dict.fromkeys(tasks, 2)
    return {
        "test": over_time[tasks[-1]][name]["t2v"]["R@1"],
        "R@10": over_time[tasks[-1]][name]["t2v"]["R@10"],
        "own task, just learned": mean(acc["task"][task][task] for task in tasks),
        "own task, at the end": mean(acc["task"][tasks[-1]][task] for task in tasks),
        "BWF task": backward_forgetting(acc["task"], weight, tasks[-1]),
        "BWF seen": backward_forgetting(acc["seen"], weight, tasks[-1]),
        "by task": {
            kind: {task: [acc[kind][task][task], acc[kind][tasks[-1]][task]] for task in tasks} for kind in acc
        },
    }


@torch.inference_mode()
def stored(encoder: Encoder, task: str, number: int, encoded_as: int, split: str) -> Gallery:
    """A task's videos of a split, encoded once."""
    part = Features(FEATURES / task / split)
    embeddings = encoder.head.store(encoder.videos(part, f"embed {task} {split}"))
    rows = [{**row, "task": task} for row in part.rows]
    unit = torch.nn.functional.normalize
    return Gallery(task, number, encoded_as, rows, unit(embeddings, dim=-1), unit(part.zero_shot_frames(), dim=-1))


@torch.inference_mode()
def search(
    encoder: Encoder, galleries: Sequence[Gallery], tasks: Sequence[str], split: str, of: str | None = None
) -> dict[str, Any]:
    """Every metric of the queries about the galleries' videos, or of those of the task `of` alone, by each ranking."""
    videos = [row for gallery in galleries for row in gallery.rows]
    column = {row["id"]: i for i, row in enumerate(videos)}
    queries = read_json(MANIFEST / tasks[-1] / "seen.json")["queries"]
    asked = [q for q in queries if q["split"] == split and of in (None, q["task"])]
    tokens = Tokeniser(BACKBONE)([query["text"] for query in asked])
    found = score_queries(encoder, tokens, galleries, {}, f"score {split}")
    truth, video_tasks = np.array([column[query["video"]] for query in asked]), [row["task"] for row in videos]
    scores = {name: matrix.numpy() for name, matrix in found.items()}
    both, sentence = (rank([scores], truth, video_tasks, ranking) for ranking in (WORDS_AND_SENTENCE, SENTENCE))
    shown = [task for task in tasks if of in (None, task)]
    pairs = {"method": (both, "method"), "words and sentence": (both, "zero_shot"), "sentence": (sentence, "zero_shot")}
    return {name: measure(ranks, system, truth, video_tasks, shown) for name, (ranks, system) in pairs.items()}


def result(folder: Path, run: Run) -> dict[str, Any]:
    """The kept result of a run."""
    return dict(read_json(folder / run.file))


def best(folders: Iterable[Path], kind: str, rates: Sequence[float]) -> float:
    """The rate with the highest validation R@1, mean over the seeds."""
    kept = list(folders)
    return max(rates, key=lambda rate: mean(result(folder, Run(kind, rate))["val"] for folder in kept))


def criteria(folder: Path, seed: int, rate: float, naive_rate: float) -> dict[str, float]:
    """The row of one seed."""
    joint, naive = result(folder, Run("joint", rate)), result(folder, Run("naive", rate))
    frozen = max((naive[name] for name in RANKINGS[1:]), key=lambda found: float(found["test"]))
    learned, tuned = naive["method"], result(folder, Run("naive", naive_rate))["method"]
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
    """What the captions alone tell, in percent of the test captions."""
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
