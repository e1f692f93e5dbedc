"""The manifest of a task's videos, which prepare writes for later stages: work/manifest/<task>/videos.json."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, get_args

from structalign.params.section import Section
from structalign.paths import MANIFEST
from structalign.store import read_json, reading

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)


class Video(Section):
    """One clip: `file` relative to videos/, its sha256, and the stretch in seconds (None: the file's start or end)."""

    id: str
    file: str
    sha256: str
    split: Split
    category: int
    start: float | None
    end: float | None


def read_videos(task: str, folder: Path = MANIFEST) -> list[Video]:
    """A task's clips, in the order of the captions table."""
    path = folder / task / "videos.json"
    with reading(path):
        return [Video(**row) for row in read_json(path)["videos"]]


def training_videos(tasks: Iterable[str]) -> dict[int, int]:
    """The number of training videos of each category, whether or not they could be decoded."""
    videos = (video for task in tasks for video in read_videos(task))
    return dict(Counter(video.category for video in videos if video.split == "train"))
