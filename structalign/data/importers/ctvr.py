"""What the importers of the CTVR benchmark share: split files and captions become rows of our captions table and tasks.

A video that isn't in the folder keeps its rows: `prepare` counts it as missing and marks the run as partial.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

from structalign.data.captions import CaptionRow
from structalign.data.importers.split_files import read_split
from structalign.data.manifest import Split
from structalign.data.tasks import Task, key
from structalign.errors import UserError

ENDINGS = frozenset((".mp4", ".mkv", ".webm", ".avi", ".mov", ".m4v", ".flv", ".3gp"))


@dataclass(frozen=True)
class Text:
    """A caption and the stretch of the video that it is about, seconds (None: all of it).

    odd: what is wrong with the stretch as the benchmark has it; empty: whether it shows nothing at all.
    """

    caption: str
    start: float | None = None
    end: float | None = None
    odd: str = ""
    empty: bool = False


@dataclass(frozen=True)
class Benchmark:
    """`files`: name below videos/ -> where the file is; a missing video has rows, and no file.

    odd: name -> what was wrong with the stretch of a video, and what was made of it.
    """

    rows: list[CaptionRow]
    tasks: dict[str, Task]
    files: dict[str, Path]
    odd: dict[str, str] = field(default_factory=dict)

    def names(self, split: Split) -> list[str]:
        """The videos of a split, by their names below videos/."""
        return list(dict.fromkeys(row.video for row in self.rows if row.split == split))

    def missing(self) -> dict[str, int]:
        """How many videos of each task aren't there; tasks that are whole are left out."""
        owner = {category: name for name, task in self.tasks.items() for category in task.categories}
        lost = {row.video: owner[row.category] for row in self.rows if row.video not in self.files}
        return {name: found for name in self.tasks if (found := list(lost.values()).count(name))}


@dataclass(frozen=True)
class Source:
    """The texts of each video id, and the file they come from."""

    texts: Mapping[str, list[Text]]
    file: str


def assemble(splits: Path, videos: Path, sources: Mapping[Split, Source], name: Callable[[Any], str]) -> Benchmark:
    """The benchmark of a split file: `sources` give each split its texts, `name` a category of the file its name."""
    cells = read_split(splits)
    ids = [video for cell in cells for video in cell.ids]
    found = find_videos(videos, ids)
    numbers = count(2)  # the table's first row is its header
    rows: list[CaptionRow] = []
    odd: dict[str, str] = {}
    tasks: dict[str, list[str]] = {}
    for cell in cells:
        category = name(cell.category)
        if cell.split == "train":
            tasks.setdefault(key(cell.task), []).append(category)
        source = sources[cell.split]
        for video in cell.ids:
            if not source.texts.get(video):
                raise UserError(f"{source.file} has no caption of {video}, which {splits} names: name the other file.")
            file = f"{video}{found[video].suffix}" if video in found else f"{video}.mp4"
            for text in source.texts[video]:
                if text.odd:
                    odd[file] = text.odd
                if text.empty:
                    found.pop(video, None)
                rows.append(CaptionRow(next(numbers), file, text.caption, category, cell.split, text.start, text.end))
    numbered = {task: Task.numbered(number, names) for number, (task, names) in enumerate(tasks.items(), start=1)}
    return Benchmark(rows, numbered, {f"{video}{path.suffix}": path for video, path in found.items()}, odd)


def find_videos(folder: Path, ids: list[str]) -> dict[str, Path]:
    """The file of each id below `folder`, called id + ending (ActivityNet's also without `v_`).

    `UserError` if two files are of one id, or not one video is there.
    """
    wanted = {spelling: video for video in ids for spelling in (video, video.removeprefix("v_"))}
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        video = wanted.get(path.stem)
        if video is None or path.suffix.lower() not in ENDINGS or not path.is_file():
            continue
        if video in found:
            raise UserError(f"{found[video]} and {path} are both the video {video}: take one of them out.")
        found[video] = path
    if not found:
        raise UserError(
            f"{folder} has none of the {len(ids):,} videos: name the folder that holds files like {ids[0]}.mp4."
        )
    return found


def without_repeats(texts: Iterator[tuple[str, Text]]) -> dict[str, list[Text]]:
    """Each video's texts, blanks tidied; an empty caption, and one that a video has already, are left out."""
    found: dict[str, dict[str, Text]] = {}
    for video, text in texts:
        caption = " ".join(text.caption.split())
        if caption:
            found.setdefault(video, {}).setdefault(caption, replace(text, caption=caption))
    return {video: list(captions.values()) for video, captions in found.items()}


def read_json_file(path: Path) -> Any:
    """A JSON file of captions; `UserError` where it can't be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path} can't be read ({error.strerror}): name the benchmark's captions.") from None
    except ValueError as error:
        raise UserError(f"{path} is no JSON ({error}): name the benchmark's captions.") from None
