"""MSR-VTT and ActivityNet, from the files people have, as rows of our captions table and as tasks.

A video that isn't in the folder keeps its rows: `prepare` counts it as missing and marks the run as partial.
"""

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

from structalign.data.ctvr import Cell, read_split
from structalign.data.datasets import CaptionRow
from structalign.data.manifest import Split
from structalign.data.tasks import Task, key
from structalign.errors import UserError

ENDINGS = frozenset((".mp4", ".mkv", ".webm", ".avi", ".mov", ".m4v", ".flv", ".3gp"))
MSRVTT = (
    *("music", "people", "gaming", "sports and actions", "news, events and politics", "education", "tv shows"),
    *("movies and comedy", "animation", "vehicles and autos", "howto", "travel", "science and technology"),
    *("animals and pets", "kids and family", "documentary", "food and drink", "cooking", "beauty and fashion"),
    "advertisement",
)


@dataclass(frozen=True)
class Text:
    """A caption and the stretch of the video that it is about, seconds (None: all of it)."""

    caption: str
    start: float | None = None
    end: float | None = None


@dataclass(frozen=True)
class Benchmark:
    """`files`: name below videos/ -> where the file is; a missing video has rows, and no file."""

    rows: list[CaptionRow]
    tasks: dict[str, Task]
    files: dict[str, Path]

    def names(self, split: Split) -> list[str]:
        """The videos of a split, by their names below videos/."""
        return list(dict.fromkeys(row.video for row in self.rows if row.split == split))

    def missing(self) -> dict[str, int]:
        """How many videos of each task aren't there; tasks that are whole are left out."""
        owner = {category: name for name, task in self.tasks.items() for category in task.categories}
        lost = {row.video: owner[row.category] for row in self.rows if row.video not in self.files}
        return {name: found for name in self.tasks if (found := list(lost.values()).count(name))}


def msrvtt(splits: Path, videos: Path, annotations: Path, test_captions: Path) -> Benchmark:
    """MSR-VTT: training captions from its annotation JSON, one caption a test video from the CSV."""
    sources: dict[Split, _Source] = {
        "train": _Source(_sentences(annotations), str(annotations)),
        "test": _Source(_csv_captions(test_captions), str(test_captions)),
    }
    return _assemble(read_split(splits), splits, videos, sources, _msrvtt_name)


def activitynet(splits: Path, videos: Path, train_captions: Path, test_captions: Path) -> Benchmark:
    """ActivityNet Captions: the first segment of each video with its first sentence."""
    sources: dict[Split, _Source] = {
        "train": _Source(_segments(train_captions), str(train_captions)),
        "test": _Source(_segments(test_captions), str(test_captions)),
    }
    return _assemble(read_split(splits), splits, videos, sources, str)


@dataclass(frozen=True)
class _Source:
    """The texts of each video id, and the file they come from."""

    texts: Mapping[str, list[Text]]
    file: str


def _assemble(
    cells: list[Cell], splits: Path, videos: Path, sources: Mapping[Split, _Source], name: Callable[[Any], str]
) -> Benchmark:
    ids = [video for cell in cells for video in cell.ids]
    found = find_videos(videos, ids)
    numbers = count(2)  # the table's first row is its header
    rows: list[CaptionRow] = []
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
                rows.append(CaptionRow(next(numbers), file, text.caption, category, cell.split, text.start, text.end))
    numbered = {task: Task.numbered(number, names) for number, (task, names) in enumerate(tasks.items(), start=1)}
    return Benchmark(rows, numbered, {f"{video}{path.suffix}": path for video, path in found.items()})


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


def _msrvtt_name(category: Any) -> str:
    if not isinstance(category, int) or not 0 <= category < len(MSRVTT):
        raise UserError(f"the split file has a category {category!r}: MSR-VTT's are the numbers 0 to 19.")
    return MSRVTT[category]


def _sentences(path: Path) -> dict[str, list[Text]]:
    tree = _json(path)
    try:
        return without_repeats((row["video_id"], Text(row["caption"])) for row in tree["sentences"])
    except (AttributeError, TypeError, KeyError):
        raise UserError(
            f"{path} has no `sentences` with video_id and caption: "
            "name MSR-VTT's annotations, as train_val_videodatainfo.json."
        ) from None


def _csv_captions(path: Path) -> dict[str, list[Text]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            rows = list(csv.DictReader(stream))
    except OSError as error:
        raise UserError(f"{path} can't be read ({error.strerror}): name MSRVTT_CL_validation.csv.") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} is no CSV table ({error}): name MSRVTT_CL_validation.csv.") from None
    if any(not row.get("video_id") or row.get("sentence") is None for row in rows):
        raise UserError(f"{path} lacks the columns video_id and sentence: name MSRVTT_CL_validation.csv.")
    return without_repeats((row["video_id"], Text(row["sentence"])) for row in rows)


def _segments(path: Path) -> dict[str, list[Text]]:
    tree = _json(path)
    try:
        return without_repeats((video, _first_segment(about)) for video, about in tree.items())
    except (AttributeError, TypeError, KeyError, IndexError, ValueError):
        raise UserError(
            f"{path} doesn't give every video its timestamps and sentences: "
            "name one of ActivityNet Captions' files, as train.json."
        ) from None


def _first_segment(about: Any) -> Text:
    start, end = sorted(map(float, about["timestamps"][0]))
    return Text(about["sentences"][0], start, end)


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path} can't be read ({error.strerror}): name the benchmark's captions.") from None
    except ValueError as error:
        raise UserError(f"{path} is no JSON ({error}): name the benchmark's captions.") from None
