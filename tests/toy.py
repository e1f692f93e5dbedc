"""A toy project for the pipeline's proofs: few clips, a random two-layer CLIP, small numbers."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import imageio_ffmpeg
from codemap import ROOT

from structalign.data.tasks import split_categories, write_tasks
from structalign.strict_yaml import dump_yaml, load_yaml

# small numbers, and a fixed value of every key that a proof changes, independent of params.yaml's defaults
SMALL = {
    "seed": 0,
    "crp": {"weight": 10},
    "ranking": {"beta": 0.5, "task_prior": 0.1, "word_prior": 0.1},
    "method": {"name": "structalign"},
    "frames": {"per_video": 2, "size": 32},
    "backbone": {"name": "data/clip", "vision_frozen": 0, "precision": "fp32"},
    "features": {"train_views": 1},
    "adapters": {"rank": 2, "alpha": 8, "experts": 2},
    "etf": {"dim": 16},
    "optim": {"shared": {"batch": 4}, "first": {"epochs": 2, "lr": 1e-3}, "later": {"epochs": 2, "lr": 1e-3}},
}
SPLITS = ("train", "train", "val", "test")


class Project:
    """A separate git and DVC repository with a copy of the working tree's code, run as a user runs it."""

    def __init__(self, root: Path, python: Path = Path(sys.executable).parent):
        """`python` is the folder whose `python` runs the stages."""
        self.root = root
        self.python = python

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command in the project, with this Python first on PATH, one thread and no network."""
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        environment |= {
            "PATH": os.pathsep.join([str(self.python), str(Path(sys.executable).parent), environment["PATH"]]),
            "OMP_NUM_THREADS": "1",
            "HF_HUB_OFFLINE": "1",
            "GIT_AUTHOR_NAME": "test",
            "GIT_AUTHOR_EMAIL": "test@example.org",
            "GIT_COMMITTER_NAME": "test",
            "GIT_COMMITTER_EMAIL": "test@example.org",
        }
        done = subprocess.run(command, cwd=self.root, env=environment, capture_output=True, text=True, check=False)
        if check and done.returncode:
            raise AssertionError(f"{' '.join(command)} failed ({done.returncode}):\n{done.stdout}\n{done.stderr}")
        return done

    def repro(self, *targets: str) -> set[str]:
        """Run `dvc repro`. Returns the names of the stages whose command ran."""
        return executed(self.run("dvc", "repro", *targets))

    def commit(self) -> None:
        """Commit everything that git does not ignore."""
        self.run("git", "add", ".")
        self.run("git", "commit", "-qm", "Work")

    def set(self, key: str, value: Any) -> None:
        """Write one dotted key of params.yaml."""
        file = self.root / "params.yaml"
        tree = load_yaml(file)
        node = tree
        *path, last = key.split(".")
        for part in path:
            node = node[part]
        node[last] = value
        file.write_text(dump_yaml(tree), encoding="utf-8")

    def experiments(self) -> list[str]:
        """The git references of the recorded experiments, like `dvc exp list` but faster."""
        listed = self.run("git", "for-each-ref", "--format=%(refname)", "refs/exps/[0-9a-f][0-9a-f]/**")
        return listed.stdout.split()

    def results(self) -> dict[str, bytes]:
        """The files that a user could lose: the reports, and the lock file that names every output."""
        files = [*(self.root / "reports").rglob("*.json"), self.root / "dvc.lock"]
        return {str(file.relative_to(self.root)): file.read_bytes() for file in files}


def executed(done: subprocess.CompletedProcess[str]) -> set[str]:
    """The stages whose command DVC started."""
    return set(re.findall(r"Running stage '([^']+)'", done.stdout + done.stderr))


@contextmanager
def quick_python(folder: Path) -> Iterator[Path]:
    """A folder with a `python` that runs modules in forks of one process (see forkserver.py)."""
    server, address = Path(__file__).with_name("forkserver.py"), folder / "socket"
    shim = folder / "python"
    shim.write_text(f'#!/bin/sh\nexec "{sys.executable}" -E -S "{server}" run "{address}" "$@"\n', encoding="utf-8")
    shim.chmod(0o755)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    process = subprocess.Popen([sys.executable, str(server), "serve", str(address)], env=environment)
    try:
        while not address.exists():
            assert process.poll() is None, "the fork server did not start"
            time.sleep(0.05)
        yield folder
    finally:
        process.terminate()
        process.wait()


def make_project(project: Project, tasks: int) -> None:
    """Fill an empty folder with a committed project of `tasks` tasks of two categories each. It has not run."""
    root = project.root
    for name in ("stages", "structalign", "joint"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__", "dvc.lock"))
    for name in ("dvc.yaml", "params.yaml", ".gitignore", ".dvcignore", ".gitattributes"):
        shutil.copy(ROOT / name, root / name)
    for key, value in _leaves(SMALL):
        project.set(key, value)
    write_tasks(
        split_categories([name for task in range(1, tasks + 1) for name in categories(task)], tasks),
        root / "tasks.yaml",
    )
    rows = [row for task in range(1, tasks + 1) for row in clips(root, task)]
    write_captions(root, rows)
    write_clip(root / "data/clip")
    project.run("git", "init", "-q", "-b", "main")
    project.run("dvc", "init", "-q")
    shutil.copy(ROOT / ".dvc/config", root / ".dvc/config")
    if (ROOT / ".dvc/plots").is_dir():
        shutil.copytree(ROOT / ".dvc/plots", root / ".dvc/plots", dirs_exist_ok=True)
    project.run("dvc", "add", "-q", "data")
    project.commit()


def _leaves(tree: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in tree.items():
        found += _leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else [(prefix + key, value)]
    return found


def categories(task: int) -> list[str]:
    """A task's two categories."""
    return [f"colour {task}a", f"colour {task}b"]


def clips(root: Path, task: int) -> list[list[str]]:
    """Make a task's clips. Returns their rows of the captions table."""
    rows = []
    for half, category in enumerate(categories(task)):
        for number, split in enumerate(SPLITS):
            name = f"{task}{'ab'[half]}{number}.mp4"
            make_clip(root / "data/videos" / name, hue=task * 80 + half * 40 + number * 7)
            rows.append([name, f"clip {number} of {category}", category, split])
    return rows


def make_clip(file: Path, hue: int) -> None:
    """Write half a second of a test picture with a hue in degrees. Each hue gives a different file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    source = f"testsrc2=size=48x32:rate=8:duration=0.5,hue=h={hue}"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", "-f", "lavfi", "-i", source]
    subprocess.run([*command, "-pix_fmt", "yuv420p", "-threads", "1", str(file)], check=True)


def write_captions(root: Path, rows: list[list[str]]) -> None:
    """Write or lengthen the captions table."""
    file = root / "data/captions.csv"
    new = not file.exists()
    with file.open("a", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        if new:
            writer.writerow(["video", "caption", "category", "split"])
        writer.writerows(rows)


def write_clip(folder: Path) -> None:
    """Save a random CLIP with two layers of width 32 in each tower. Its tokens are single letters."""
    import torch
    from tokenizers import pre_tokenizers
    from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

    folder.mkdir(parents=True)
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    vocabulary, merges = folder / "vocab.json", folder / "merges.txt"
    vocabulary.write_text(json.dumps({token: i for i, token in enumerate(tokens)}), encoding="utf-8")
    merges.write_text("#version: 0.2\n", encoding="utf-8")
    CLIPTokenizer.from_pretrained(folder).save_pretrained(folder)

    tower = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    ends = {"bos_token_id": len(tokens) - 2, "eos_token_id": len(tokens) - 1, "pad_token_id": len(tokens) - 1}
    text = {**tower, **ends, "vocab_size": len(tokens), "max_position_embeddings": 40}
    vision = {**tower, "image_size": 32, "patch_size": 16}
    torch.manual_seed(0)
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=32)).save_pretrained(folder)
    pixels = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}
    (folder / "preprocessor_config.json").write_text(json.dumps(pixels), encoding="utf-8")
