"""A small data folder of real clips, and a project around it to run stages in."""

import csv
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from imageio_ffmpeg import get_ffmpeg_exe

from structalign.data.tasks import deal, write_tasks

ROOT = Path(__file__).resolve().parents[2]
Table = Callable[[list[tuple[str, str, str, str]]], None]


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve clips of one second, all different: 0.mp4 to 11.mp4."""
    folder = tmp_path_factory.mktemp("clips")
    for number in range(12):
        source = f"testsrc2=size=64x48:rate=8:duration=1,hue=h={30 * number}"
        command = [get_ffmpeg_exe(), "-v", "error", "-f", "lavfi", "-i", source, f"{folder / str(number)}.mp4"]
        subprocess.run(command, check=True)
    return folder


def write_table(folder: Path, rows: list[tuple[str, str, str, str]]) -> None:
    with (folder / "captions.csv").open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([("video", "caption", "category", "split"), *rows])


@pytest.fixture
def project(tmp_path: Path, clips: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with params.yaml, two tasks (cats; dogs), three splits of two clips each, a CLIP that isn't one."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "params.yaml", tmp_path)
    shutil.copytree(clips, tmp_path / "data/videos")
    splits = ("train", "train", "val", "val", "test", "test")
    rows = [
        (f"{number}.mp4", f"caption {number}", "cats" if number < 6 else "dogs", splits[number % 6])
        for number in range(12)
    ]
    write_table(tmp_path / "data", rows)
    write_tasks(deal(["cats", "dogs"], 2))
    clip = tmp_path / "data/clip"
    clip.mkdir()
    (clip / "config.json").write_text(json.dumps({"structalign_sample": ["cats", "dogs"]}))
    (clip / "model.safetensors").write_bytes(b"weights")
    (clip / "README.md").write_text("not needed")
    return tmp_path
