"""Makes the corpus of a seed, and runs training on it.

Each seed has one folder. It has the corpus, the frames and features that all runs share, and a JSON file for each run,
written when the run ends. Files that exist are not made again.
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

import torch
import typer

from sample.catalogue import CATEGORIES
from sample.corpus import Clip, all_clips, name_words, render, write_captions, write_held_out
from stages import features, frames, prepare
from structalign.data.tasks import key, read_tasks, split_categories, write_tasks
from structalign.learning.joint import joint_galleries, learn_joint
from structalign.learning.settings import settings_of
from structalign.model.features import Captions, VideoSource
from structalign.params.features import FeaturesParams
from structalign.params.ranking import Ranking
from structalign.params.schema import validate
from structalign.paths import FEATURES
from structalign.store import read_json, write_json
from structalign.strict_yaml import load_yaml
from structalign.sweep.measures import measures
from structalign.sweep.over_time import OverTime
from structalign.sweep.run import run_chain

ROOT = Path(__file__).parents[1]
TASKS = 10
RATES = (5e-4, 1e-3, 2e-3, 3e-3, 5e-3, 8e-3)
DEVELOPMENT_SEEDS = (1, 2, 3)
WORDS_AND_SENTENCE, SENTENCE = Ranking(beta=0.5, task_prior=0), Ranking(beta=0, task_prior=0)
METHOD = ("method", WORDS_AND_SENTENCE)
RANKINGS = {
    "method": METHOD,
    "words and sentence": ("zero_shot", WORDS_AND_SENTENCE),
    "sentence": ("zero_shot", SENTENCE),
}

Seeds = Annotated[list[int], typer.Argument(help="Development seeds are 1, 2 and 3. Seed 0 is the committed sample.")]
Out = Annotated[Path, typer.Option(help="Folder for all outputs.")]
TinyClip = Annotated[Path, typer.Option(help="The tiny CLIP.")]
Jobs = Annotated[int, typer.Option(help="Parallel runs, with one thread each.")]


@dataclass(frozen=True)
class Run:
    """`joint`, `shuffled` (joint on shuffled captions) or a method's name, at a learning rate."""

    kind: str
    rate: float

    @property
    def file(self) -> Path:
        """The file of the result, relative to the folder of the seed."""
        return Path("runs", f"{self.kind}-{self.rate:g}.json")


def make(seeds: Sequence[int], out: Path, clip: Path, pool: ProcessPoolExecutor, imbalance: int = 1) -> dict[int, Path]:
    """Make what all runs of a seed share. Returns the folder of each seed."""
    folders = {seed: folder_of(out, seed, imbalance) for seed in seeds}
    for seed, folder in folders.items():
        make_corpus(folder, plan(seed, imbalance), clip.absolute(), pool)
    for made in [pool.submit(make_features, folder, key(n + 1)) for folder in folders.values() for n in range(TASKS)]:
        made.result()
    return folders


def folder_of(out: Path, seed: int, imbalance: int = 1) -> Path:
    """The folder of a seed."""
    return (out / (f"seed-{seed}-ratio-{imbalance}" if imbalance > 1 else f"seed-{seed}")).absolute()


def workers(jobs: int) -> ProcessPoolExecutor:
    """A pool of `jobs` processes with one thread each."""
    os.environ |= {"OMP_NUM_THREADS": "1", "STRUCTALIGN_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    return ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn"), max_tasks_per_child=1)


def do(runs: Sequence[Run], folders: Iterable[Path], pool: ProcessPoolExecutor) -> None:
    """Do all runs in every folder."""
    for done in [pool.submit(keep, folder, run) for folder in folders for run in runs]:
        done.result()


def make_corpus(folder: Path, planned: list[Clip], clip: Path, pool: ProcessPoolExecutor) -> None:
    """Write the corpus, the settings and the manifest."""
    if (folder / "work/manifest/report.json").exists():
        return
    write_captions(folder / "data", planned)
    write_held_out(folder / "data", planned)
    missing = [clip for clip in planned if not (folder / "data/videos" / clip.video).exists()]
    for _ in pool.map(render, [folder / "data"] * len(missing), missing, chunksize=16):
        pass
    shutil.copytree(clip, folder / "data/clip", dirs_exist_ok=True)
    name_words(folder / "data/clip")
    shutil.copy(ROOT / "params.yaml", folder)
    with chdir(folder):
        write_tasks(split_categories([category.name for category in CATEGORIES], TASKS), Path("tasks.yaml"))
        prepare.main()


def plan(seed: int, imbalance: int = 1) -> list[Clip]:
    """The clips of a seed: seed 0 is the committed sample, the others are development corpora.

    imbalance: training videos of the largest category over the smallest's.
    """
    return all_clips(seed, seed in DEVELOPMENT_SEEDS, imbalance)


def make_features(folder: Path, task: str) -> None:
    """Decode a task's videos and run the frozen part of CLIP over them."""
    with chdir(folder):
        if not (FEATURES / task / "test/index.json").exists():
            frames.main(task)
            features.main(task)


def keep(folder: Path, run: Run) -> None:
    """Do a run and write its result, unless the result exists."""
    with chdir(folder):
        if not run.file.exists():
            torch.set_num_threads(1)
            if run.kind in ("joint", "shuffled"):
                done = joint(run.rate, shuffled=run.kind == "shuffled")
            else:
                done = chain(run.kind, run.rate)
            write_json(run.file, done)


def at_rate(rate: float) -> dict[str, Any]:
    """The sections of params.yaml, with learning rate `rate`."""
    params = load_yaml(Path("params.yaml"))
    params["optim"]["first"]["lr"] = params["optim"]["later"]["lr"] = rate
    return validate(params).model_dump()


class Shuffled:
    """Videos with the captions of other videos."""

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
    """Train on all tasks at once. Returns R@1 of both splits."""
    tasks, sections = list(read_tasks()), at_rate(rate)
    views = FeaturesParams.model_validate(sections["features"])
    trainer = learn_joint(tasks, settings_of(sections, 1), views, None, Shuffled if shuffled else None)
    recall = {}
    for split in ("val", "test"):
        searched = OverTime(split, {"method": METHOD})
        encoder, searched.galleries = joint_galleries(trainer, tasks, split)
        recall[split] = measures(searched.finish(encoder), "method")["R@1"]
    return recall


def chain(method: str, rate: float) -> dict[str, Any]:
    """Train on the tasks one after the other.

    Returns R@1 and forgetting of the method, and of zero-shot CLIP by both of its rankings.
    """
    searched = [OverTime("val", {"method": METHOD}), OverTime("test", RANKINGS)]
    val, test = run_chain(method, at_rate(rate), searched)
    return {"val": measures(val, "method")["R@1"]} | {name: summary(measures(test, name)) for name in RANKINGS}


def summary(found: dict[str, float]) -> dict[str, float]:
    """The numbers that the criteria need, under their names in the stored files."""
    names = {"test": "R@1", "own task, just learned": "learned", "own task, at the end": "final"}
    return {name: found[names.get(name, name)] for name in (*names, "R@10", "BWF task", "BWF seen")}


def result(folder: Path, run: Run) -> dict[str, Any]:
    """The stored result of a run."""
    return dict(read_json(folder / run.file))


def validation(folders: Iterable[Path], kind: str, rates: Sequence[float] = RATES) -> dict[float, float]:
    """Mean validation R@1 over the seeds, at each rate."""
    kept = list(folders)
    return {rate: mean(float(result(folder, Run(kind, rate))["val"]) for folder in kept) for rate in rates}


def best(validated: dict[float, float]) -> float:
    """The rate with the highest validation R@1."""
    return max(validated, key=lambda rate: validated[rate])
