"""Shared code of the CTVR benchmark's importers: turn split files and captions into our captions table and tasks.

A video that is not in the folder keeps its rows. `prepare` counts it as missing and marks the run as partial.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

from structalign.data.captions import CaptionRow
from structalign.data.importers.split_files import Cell, read_split
from structalign.data.manifest import Split
from structalign.data.tasks import Task, key
from structalign.errors import UserError
from structalign.store import refuse_pipe
from structalign.strict_yaml import SURROGATE
from structalign.text import UNSHOWN, shortened

FILE_NAME = re.compile(r"[^/\\#\x00-\x1f\x7f-\x9f\ud800-\udfff]{1,200}")  # without its ending
ENDINGS = frozenset((".mp4", ".mkv", ".webm", ".avi", ".mov", ".m4v", ".flv", ".3gp"))


@dataclass(frozen=True)
class Text:
    """A caption and the stretch of the video that it describes, in seconds (None: the whole video).

    odd: what is wrong with the benchmark's stretch. empty: whether the stretch shows nothing.
    """

    caption: str
    start: float | None = None
    end: float | None = None
    odd: str = ""
    empty: bool = False


@dataclass(frozen=True)
class Benchmark:
    """`files`: name in videos/ -> path of the file. A missing video has rows, but no file.

    odd: name -> what was wrong with a video's stretch, and how it was corrected.
    """

    rows: list[CaptionRow]
    tasks: dict[str, Task]
    files: dict[str, Path]
    odd: dict[str, str] = field(default_factory=dict)

    def names(self, split: Split) -> list[str]:
        """The videos of a split, by their names in videos/."""
        return list(dict.fromkeys(row.video for row in self.rows if row.split == split))

    def missing(self) -> dict[str, int]:
        """The number of missing videos per task, without tasks that miss none."""
        owner = {category: name for name, task in self.tasks.items() for category in task.categories}
        lost = {row.video: owner[row.category] for row in self.rows if row.video not in self.files}
        return {name: found for name in self.tasks if (found := list(lost.values()).count(name))}


@dataclass(frozen=True)
class Source:
    """The captions of each video id, and the file that they come from."""

    texts: Mapping[str, list[Text]]
    file: str


def assemble(splits: Path, videos: Path, sources: Mapping[Split, Source], name: Callable[[Any], str]) -> Benchmark:
    """Build the benchmark of a split file.

    `sources` has the captions per split. `name` names a category of the file.
    """
    cells = read_split(splits)
    ids = [video for cell in cells for video in cell.ids]
    for fault in _faults(cells, name):
        raise UserError(f"{splits}: {fault}: use the original file.")
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
                raise UserError(
                    f"{source.file} has no caption of {video}, which {splits} needs: name the matching captions file."
                )
            file = f"{video}{found[video].suffix}" if video in found else f"{video}.mp4"
            for text in source.texts[video]:
                if SURROGATE.search(text.caption):
                    raise UserError(f"{source.file}: a caption of {video} has half a character: use the original file.")
                if text.odd:
                    odd[file] = text.odd
                if text.empty:
                    found.pop(video, None)
                rows.append(CaptionRow(next(numbers), file, text.caption, category, cell.split, text.start, text.end))
    numbered = {task: Task.numbered(number, names) for number, (task, names) in enumerate(tasks.items(), start=1)}
    return Benchmark(rows, numbered, {f"{video}{path.suffix}": path for video, path in found.items()}, odd)


def _faults(cells: list[Cell], name: Callable[[Any], str]) -> Iterator[str]:
    """Categories and video ids that our table can't hold. The file may have them more than once."""
    owner: dict[str, Cell] = {}
    for cell in cells:
        category = name(cell.category)
        first = owner.setdefault(category, cell)
        if first.task != cell.task or first.category != cell.category:
            yield f"category {shortened(category)} is in task {first.task} and in task {cell.task}"
        if category != category.strip() or not category or "${" in category or UNSHOWN.search(category):
            yield f"task {cell.task} has the category {shortened(repr(category))}, which is not a name"
        for video, times in Counter(cell.ids).items():
            if not video.strip() or not FILE_NAME.fullmatch(video):
                yield f"{shortened(repr(video))} is not a video id"
            if times > 1:
                yield f"{video} is {times} times in category {cell.category} of task {cell.task}, {cell.split}"


def find_videos(folder: Path, ids: list[str]) -> dict[str, Path]:
    """The file of each id in `folder` and its subfolders, named id + ending (ActivityNet also without `v_`).

    Raises `UserError` if two files have one id, or if there is no video at all.
    """
    wanted = {spelling: video for video in ids for spelling in (video, video.removeprefix("v_"))}
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        video = wanted.get(path.stem)
        if video is None or path.suffix.lower() not in ENDINGS or not path.is_file():
            continue
        if video in found:
            raise UserError(f"{found[video]} and {path} are both video {video}: move one of them away.")
        found[video] = path
    if not found:
        raise UserError(f"{folder} has none of the {len(ids):,} videos: name the folder with files like {ids[0]}.mp4.")
    return found


def without_repeats(texts: Iterator[tuple[str, Text]]) -> dict[str, list[Text]]:
    """Each video's captions with normalised spaces, without empty and repeated ones."""
    found: dict[str, dict[str, Text]] = {}
    for video, text in texts:
        caption = " ".join(text.caption.split())
        if caption:
            found.setdefault(video, {}).setdefault(caption, replace(text, caption=caption))
    return {video: list(captions.values()) for video, captions in found.items()}


def read_json_file(path: Path) -> Any:
    """Read a JSON file of captions. Raises `UserError` if it can't be read."""
    try:
        refuse_pipe(path)
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path} can't be read ({error.strerror}): name the benchmark's captions file.") from None
    except RecursionError:
        raise UserError(f"{path} is nested too deeply: name the benchmark's captions file.") from None
    except ValueError as error:
        raise UserError(f"{path} is not a JSON file ({error}): name the benchmark's captions file.") from None
