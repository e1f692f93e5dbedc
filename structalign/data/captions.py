"""Our own-data format: a folder with `videos/` and captions.csv, which names the videos.

One row of the table (video, caption, category, split[, start, end]) is one caption of one clip; a clip is a
whole file, or its stretch from start to end, seconds. `read_table` finds everything that is wrong, so that
`structalign data check` can list it; `read_captions` stops at the first. A reader of another dataset would
give the same rows; nothing downstream knows a dataset's name.
"""

import csv
import difflib
import math
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from structalign.data.manifest import SPLITS, Split
from structalign.data.names import folded
from structalign.data.tasks import Task
from structalign.errors import UserError
from structalign.paths import DATA
from structalign.text import plural, shortened, some

REQUIRED = ("video", "caption", "category", "split")
OPTIONAL = ("start", "end")
CLOCK = re.compile(r"\d+:\d{1,2}(:\d{1,2})?([.,]\d*)?")  # 1:05, 0:01:05.5
COMMA = re.compile(r"\d+,\d+")


@dataclass(frozen=True)
class CaptionRow:
    """One caption: `number` is its row in a spreadsheet (the header is 1), `video` relative to videos/."""

    number: int
    video: str
    caption: str
    category: str
    split: Split
    start: float | None
    end: float | None

    @property
    def stretch(self) -> tuple[float, float]:
        """Seconds of the file from where to where; the end of a whole file is infinite."""
        return self.start or 0.0, math.inf if self.end is None else self.end

    @property
    def id(self) -> str:
        """The clip's name: the file, or file#start-end for a stretch of it, seconds."""
        if self.start is None and self.end is None:
            return self.video
        start, end = ("" if time is None else str(time).removesuffix(".0") for time in (self.start, self.end))
        return f"{self.video}#{start}-{end}"


@dataclass(frozen=True)
class Problem:
    """What is wrong with rows (1: the header), in a column if it is named, or, without rows, with the table; and the
    way out."""

    text: str
    rows: tuple[int, ...] = ()
    column: str = ""

    def __str__(self) -> str:
        if not self.rows:
            return self.text
        rows = f"row{'s' * (len(self.rows) > 1)} {some(self.rows)}"
        column = f", column `{shortened(self.column)}`" if self.column else ""
        return f"{rows}{column}: {self.text}"


def read_captions(folder: Path = DATA, tasks: dict[str, Task] | None = None) -> list[CaptionRow]:
    """The rows of captions.csv in `folder`; `UserError` with the first thing wrong, also against `tasks`."""
    rows, problems = read_table(folder) if tasks is None else read_against(tasks, folder)
    if problems:
        command = "structalign data check" if folder == DATA else f"structalign data check {folder}"
        more = f" ({len(problems) - 1} more: `{command}` lists all)" if len(problems) > 1 else ""
        raise UserError(f"{folder / 'captions.csv'}, {problems[0]}.{more}")
    return rows


def read_against(tasks: dict[str, Task], folder: Path = DATA) -> tuple[list[CaptionRow], list[Problem]]:
    """`read_table`, and what is wrong with the table for these tasks.

    While a row is wrong nobody can tell what the tasks will lack.
    """
    rows, problems = read_table(folder)
    wanted = against_tasks(rows, tasks)
    return rows, problems + ([problem for problem in wanted if problem.rows] if problems else wanted)


def read_table(folder: Path = DATA) -> tuple[list[CaptionRow], list[Problem]]:
    """The good rows of captions.csv, and everything wrong in it; `UserError` if it isn't a table at all."""
    path = folder / "captions.csv"
    if os.path.isfile(folder):  # of a name that is too long, too  # noqa: PTH113
        where = folder.absolute().parent
        raise UserError(f"{folder} is a file: name the folder that holds captions.csv and videos/, here {where}.")
    try:
        if path.exists() and not path.is_file():  # a pipe would be waited for
            raise UserError(f"{path} is no regular file: put the table itself there.")
        with path.open(encoding="utf-8-sig", newline="") as stream:
            lines = [[cell.strip() for cell in line] for line in csv.reader(stream, strict=True)]
    except FileNotFoundError:
        way = "`dvc pull data` brings the sample, `structalign init DIR` takes your own"
        if folder != DATA:
            way = "a folder of own videos has a captions.csv and videos/ (docs/data.md)"
        raise UserError(f"{path} does not exist: {way}.") from None
    except OSError as error:
        raise UserError(f"{path} can't be read ({error.strerror}): name a readable folder.") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 (byte {error.start}): save the table as UTF-8.") from None
    except csv.Error as error:
        raise UserError(f"{path} is not a CSV table ({error}): save it with commas and quotes.") from None
    header = lines[0] if lines else []
    problems = list(_header(header))
    if problems:
        return [], problems
    rows: list[CaptionRow] = []
    for number, line in enumerate(lines[1:], start=2):
        if not any(line):
            continue
        wrong = list(_wrong(number, line, header, folder / "videos"))
        problems += wrong
        if not wrong:
            rows.append(_row(number, dict(zip(header, line, strict=True))))
    if not rows and not problems:
        problems.append(Problem("the table has no rows: write one a caption"))
    return rows, grouped(problems) + list(_contradictions(rows))


def grouped(problems: Iterable[Problem]) -> list[Problem]:
    """Problems of one text and column as one, with all their rows."""
    rows: dict[tuple[str, str], list[int]] = {}
    for problem in problems:
        rows.setdefault((problem.text, problem.column), []).extend(problem.rows)
    return [Problem(text, tuple(numbers), column) for (text, column), numbers in rows.items()]


def write_captions(folder: Path, rows: Iterable[CaptionRow]) -> None:
    """Write captions.csv into `folder`: what `read_captions` reads back."""
    with (folder / "captions.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow((*REQUIRED, *OPTIONAL))
        writer.writerows((row.video, row.caption, row.category, row.split, row.start, row.end) for row in rows)


def _header(header: list[str]) -> Iterator[Problem]:
    known = (*REQUIRED, *OPTIONAL)
    if len(header) == 1 and (separator := next((mark for mark in ";\t|" if mark in header[0]), "")):
        yield Problem(f"the table is separated by {separator!r}: save it with commas", (1,), header[0])
        return
    unknown = [column for column in dict.fromkeys(header) if column not in known]
    misspelt = any(_near(column, unknown) for column in REQUIRED) and not set(header) & set(SPLITS)
    if len(unknown) == len(set(header)) and not misspelt:
        yield Problem(f"the first row names no column: write {','.join(REQUIRED)} above it, in the table's order", (1,))
        return
    for column in REQUIRED:
        if column not in header:
            near = _near(column, unknown)
            way = (
                f"rename `{shortened(near[0])}`"
                if near
                else f"the first row names {', '.join(REQUIRED)}, here {shortened(', '.join(header))}"
            )
            yield Problem(f"it is missing: {way}", (1,), column)
            unknown = [other for other in unknown if other not in near]
    for column in unknown:
        yield Problem(f"it is unknown: rename it to one of {', '.join(known)}, or delete it", (1,), column)
    for column in dict.fromkeys(header):
        if header.count(column) > 1:
            yield Problem("it is there twice: delete one", (1,), column)


def _near(column: str, unknown: list[str]) -> list[str]:
    """The column's name as it may be misspelt in the table."""
    return difflib.get_close_matches(column, unknown, n=1, cutoff=0.5)


def _wrong(number: int, line: list[str], header: list[str], videos: Path) -> Iterator[Problem]:
    """What is wrong with one row by itself."""
    if len(line) != len(header):
        text = f"the row has {plural(len(line), 'cell')}, not {len(header)}: put a text that holds commas in quotes"
        yield Problem(text, (number,), header[min(len(line), len(header) - 1)])
        return
    cells = dict(zip(header, line, strict=True))
    for column in ("caption", "category"):
        if not cells[column]:
            yield Problem(f"it is empty: write the {column}, or delete the row", (number,), column)
    if "${" in cells["category"]:
        yield Problem("it holds `${`, which DVC would replace: give it another name", (number,), "category")
    if cells["split"] not in SPLITS:
        yield Problem(f"{shortened(cells['split'])!r} is none of {', '.join(SPLITS)}", (number,), "split")
    video, named = PurePosixPath(cells["video"]), shortened(cells["video"])
    if not cells["video"]:
        yield Problem("it is empty: name a file below videos/, or delete the row", (number,), "video")
    elif (folder := _folder_above(video, videos)) is not None:
        text = f"names begin below videos/: delete `{shortened(folder)}` at the beginning"
        yield Problem(text, (number,), "video")
    elif video.is_absolute() or ".." in video.parts or "\\" in cells["video"]:
        yield Problem(f"{named!r} leads out of videos/: name a file below it, with `/`", (number,), "video")
    elif "#" in cells["video"]:
        yield Problem(f"{named!r} holds `#`, which marks a stretch: rename the file", (number,), "video")
    yield from _wrong_times(number, cells)


def _folder_above(video: PurePosixPath, videos: Path) -> str | None:
    """The beginning of a path that leads to videos/, where the rest is a file below it; None of another path."""
    for place in [place for place, part in enumerate(video.parts[:-1], start=1) if part == videos.name]:
        rest = PurePosixPath(*video.parts[place:])
        if ".." not in rest.parts and os.path.isfile(videos / rest) and not os.path.isfile(videos / video):  # noqa: PTH113
            return str(video).removesuffix(str(rest))
    return None


def _wrong_times(number: int, cells: dict[str, str]) -> Iterator[Problem]:
    times: dict[str, float] = {}
    for column in OPTIONAL:
        text = cells.get(column, "")
        try:
            value = float(text) if text else None
        except ValueError:
            value = math.nan
        if CLOCK.fullmatch(text):
            yield Problem("it is a time of a clock: write seconds, as 65.5 for 1:05.5", (number,), column)
        elif COMMA.fullmatch(text):
            yield Problem("it has a decimal comma: write seconds with a point, as 1.5", (number,), column)
        elif value is not None and not 0 <= value < math.inf:
            yield Problem(f"{shortened(text)!r} is no time: write seconds from 0, or nothing", (number,), column)
        elif value is not None:
            times[column] = value
    if times.get("end", math.inf) <= times.get("start", 0.0):
        yield Problem(f"{cells['end']} is not after the start: write seconds, start before end", (number,), "end")


def _row(number: int, cells: dict[str, str]) -> CaptionRow:
    start, end = (float(text) if (text := cells.get(column, "")) else None for column in OPTIONAL)
    split: Split = next(split for split in SPLITS if split == cells["split"])
    video = str(PurePosixPath(cells["video"]))
    return CaptionRow(number, video, cells["caption"], cells["category"], split, start, end)


def _contradictions(rows: list[CaptionRow]) -> Iterator[Problem]:
    """Rows against an earlier one: a clip has one category, what overlaps one split, a caption stands once."""
    category: dict[str, CaptionRow] = {}
    of_file: dict[str, list[CaptionRow]] = {}
    caption: dict[tuple[str, str], CaptionRow] = {}
    found: dict[tuple[str, str], list[int]] = {}  # (column, text) -> the rows of which it is true
    for row in rows:
        first = category.setdefault(row.id, row)
        if first.category != row.category:
            text = f"{row.id} is in {row.category!r}, in row {first.number} in {first.category!r}: choose one"
            found.setdefault(("category", text), []).append(row.number)
        of_file.setdefault(row.video, []).append(row)
        first = caption.setdefault((row.id, row.caption), row)
        if first is not row:
            found.setdefault(("caption", f"it repeats row {first.number}: keep one of them"), []).append(row.number)
    for rows_of_file in of_file.values():
        for first, row in overlaps(rows_of_file, lambda row: row.split):
            text = (
                f"{row.video} is in {row.split}, in row {first.number} in {first.split}: "
                "stretches of a file that overlap have one split"
            )
            found.setdefault(("split", text), []).append(row.number)
    for (column, text), numbers in found.items():
        yield Problem(text, tuple(numbers), column)


def overlaps(
    rows: Iterable[CaptionRow], side: Callable[[CaptionRow], object]
) -> Iterator[tuple[CaptionRow, CaptionRow]]:
    """(a row, a later one) of stretches of one content that overlap and are on different sides, one pair a later row.

    Two stretches that only touch, as 0–5 and 5–10 seconds, do not overlap.
    """
    found: dict[int, tuple[CaptionRow, CaptionRow]] = {}
    longest: dict[object, CaptionRow] = {}  # of each side, the row that ends last of those that begin no later
    for row in sorted(rows, key=lambda row: (row.stretch[0], row.number)):
        for other_side, other in longest.items():
            if other_side != side(row) and other.stretch[1] > row.stretch[0]:
                first, later = sorted((other, row), key=lambda one: one.number)
                found.setdefault(later.number, (first, later))
        mine = longest.setdefault(side(row), row)
        if row.stretch[1] > mine.stretch[1]:
            longest[side(row)] = row
    yield from (found[number] for number in sorted(found))


def against_tasks(rows: list[CaptionRow], tasks: dict[str, Task]) -> list[Problem]:
    """What the table lacks for these tasks: a task and training for each category, two training videos and a test."""
    problems: list[Problem] = []
    owner = {category: key for key, task in tasks.items() for category in task.categories}
    named = {row.category for row in rows}
    stray: dict[str, int] = {}
    for row in rows:
        if row.category not in owner:
            stray.setdefault(row.category, row.number)
    for category, number in stray.items():
        text = f"{category!r} is in no task of tasks.yaml: `structalign task add '{category}'` appends one"
        alike = [name for name in owner if folded(name) == folded(category)]
        unnamed = [name for name in owner if name not in named]
        if near := alike or difflib.get_close_matches(category, unnamed, n=1):
            text = f"{category!r} is in no task of tasks.yaml, which has {near[0]!r}: write it alike in both"
        problems.append(Problem(text, (number,), "category"))
    trained = {row.id: row.category for row in rows if row.split == "train"}
    tested = {owner[row.category] for row in rows if row.split == "test" and row.category in owner}
    for key, task in tasks.items():
        for category in task.categories:
            if category not in trained.values():
                text = f"{category!r} of task {key} has no training video: add rows, or mend tasks.yaml"
                problems.append(Problem(text))
        if sum(owner.get(category) == key for category in trained.values()) == 1:
            names = ", ".join(task.categories)
            text = f"task {key} ({names}) has one training video, and learning compares two at least: add rows"
            problems.append(Problem(text))
        if key not in tested:
            problems.append(Problem(f"task {key} has no test video: add rows with the split test"))
    return problems


def categories(rows: Iterable[CaptionRow]) -> list[str]:
    """The categories in the order in which the table first names them."""
    return list(dict.fromkeys(row.category for row in rows))
