"""What development corpora are measured with: the corpus of a seed, and runs on it.

Everything of a seed is in one folder, and what is there is not made again: the corpus, the frames and features that all
runs share, and the JSON file of each run, kept as it ends.
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

from sample.catalogue import CATEGORIES
from sample.corpus import Clip, clips, name_words, render, write_captions, write_held_out
from stages import features, frames, prepare
from structalign.data.tasks import key, read_tasks, split_categories, write_tasks
from structalign.evaluation.continual import backward_forgetting
from structalign.evaluation.metrics import measure
from structalign.evaluation.ranks import rank
from structalign.learning.init_task import backbone, from_scratch
from structalign.learning.loading import load_method
from structalign.learning.method import Method
from structalign.learning.methods import finetune
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
from structalign.strict_yaml import load_yaml

ROOT = Path(__file__).parents[1]
TASKS = 10
RATES = (5e-4, 1e-3, 2e-3, 3e-3, 5e-3, 8e-3)
DEVELOPMENT_SEEDS = (1, 2, 3)
RANKINGS = ("method", "words and sentence", "sentence")
WORDS_AND_SENTENCE, SENTENCE = Ranking(beta=0.5, task_prior=0), Ranking(beta=0, task_prior=0)

Seeds = Annotated[
    list[int], typer.Argument(help="Development seeds are 1, 2 and 3; 0 is the sample that is committed.")
]
Out = Annotated[Path, typer.Option(help="Folder of everything that is made.")]
TinyClip = Annotated[Path, typer.Option(help="The tiny CLIP.")]
Jobs = Annotated[int, typer.Option(help="Runs at a time, of one thread each.")]


@dataclass(frozen=True)
class Run:
    """`joint`, `shuffled` (joint on shuffled captions) or a method's name, at a learning rate."""

    kind: str
    rate: float

    @property
    def file(self) -> Path:
        """Where its result is kept, in the folder of the seed."""
        return Path("runs", f"{self.kind}-{self.rate:g}.json")


def make(seeds: Sequence[int], out: Path, clip: Path, pool: ProcessPoolExecutor) -> dict[int, Path]:
    """Make what all runs of the seeds share; the folder of each seed."""
    folders = {seed: (out / f"seed-{seed}").absolute() for seed in seeds}
    for seed, folder in folders.items():
        make_corpus(folder, seed, clip.absolute(), pool)
    for made in [pool.submit(make_features, folder, key(n + 1)) for folder in folders.values() for n in range(TASKS)]:
        made.result()
    return folders


def workers(jobs: int) -> ProcessPoolExecutor:
    """Processes of one thread each."""
    os.environ |= {"OMP_NUM_THREADS": "1", "STRUCTALIGN_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    return ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn"), max_tasks_per_child=1)


def do(runs: Sequence[Run], folders: Iterable[Path], pool: ProcessPoolExecutor) -> None:
    """Do the runs in every folder."""
    for done in [pool.submit(keep, folder, run) for folder in folders for run in runs]:
        done.result()


def make_corpus(folder: Path, seed: int, clip: Path, pool: ProcessPoolExecutor) -> None:
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
    shutil.copy(ROOT / "params.yaml", folder)
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
            if run.kind in ("joint", "shuffled"):
                done = joint(run.rate, shuffled=run.kind == "shuffled")
            else:
                done = chain(load_method(run.kind), run.rate)
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
    model, memory = from_scratch(clip, finetune.METHOD, settings, joined.read(0).shape[0])
    Trainer(model, finetune.METHOD, videos, memory, 1, settings, device).fit(lambda row: None)
    encoder = Encoder(clip, model, HEADS["fused"], device)
    galleries = {
        split: [stored(encoder, task, n, 1, split) for n, task in enumerate(tasks, 1)] for split in ("val", "test")
    }
    return {split: search(encoder, galleries[split], tasks, split)["method"]["t2v"]["R@1"] for split in galleries}


def chain(method: Method, rate: float) -> dict[str, Any]:
    """Learn the tasks one after the other; what was learned and lost again, and the same of zero-shot CLIP by both of
    its rankings."""
    tasks = list(read_tasks())
    clip, device = backbone(BACKBONE)
    galleries: dict[str, list[Gallery]] = {"val": [], "test": []}
    over_time: dict[str, dict[str, Any]] = {}
    model, memory = None, None
    for number, task in enumerate(tasks, start=1):
        settings, videos = settings_at(number, rate), Features(FEATURES / task / "train")
        if model is None or memory is None:
            model, memory = from_scratch(clip, method, settings, videos.read(0).shape[0])
        else:
            model.add_task(settings.seed, "task prototype", number)
            if number == 2:
                for mixture in model.mixtures():
                    mixture.spread_first_expert()
        trainer = Trainer(model, method, videos, memory, number, settings, device)
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


def validation(folders: Iterable[Path], kind: str, rates: Sequence[float] = RATES) -> dict[float, float]:
    """Validation R@1 at each rate, mean over the seeds."""
    kept = list(folders)
    return {rate: mean(float(result(folder, Run(kind, rate))["val"]) for folder in kept) for rate in rates}


def best(validated: dict[float, float]) -> float:
    """The rate with the highest validation R@1."""
    return max(validated, key=lambda rate: validated[rate])
