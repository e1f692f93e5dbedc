"""The data format: a folder with `videos/` and captions.csv, the table that names the videos.

One row of the table (video, caption, category, split[, start, end]) is one caption of one clip. A clip is a whole file,
or its stretch from start to end in seconds. `read_table` finds all problems, which `structalign data check` lists.
`read_captions` stops at the first one. Importers give the same rows, so later code knows no dataset by name.
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
SECONDS = re.compile(r"([0-9]+\.?|[0-9]*\.[0-9]+)([eE][-+]?[0-9]+)?")  # `float` also takes 1_0, -0 and ٣


@dataclass(frozen=True)
class CaptionRow:
    """One caption. `number` is its row in a spreadsheet (the header is row 1). `video` is relative to videos/."""

    number: int
    video: str
    caption: str
    category: str
    split: Split
    start: float | None
    end: float | None

    @property
    def stretch(self) -> tuple[float, float]:
        """Start and end in seconds. The end of a whole file is infinite."""
        return self.start or 0.0, math.inf if self.end is None else self.end

    @property
    def id(self) -> str:
        """The clip's name: the file, or file#start-end (seconds) for a stretch of it."""
        if self.start is None and self.end is None:
            return self.video
        start, end = ("" if time is None else str(time).removesuffix(".0") for time in (self.start, self.end))
        return f"{self.video}#{start}-{end}"


@dataclass(frozen=True)
class Problem:
    """A problem of some rows (1 is the header), or of the whole table if there are no rows, with its remedy.

    `column` names the column, if the problem concerns one.
    """

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
    """The rows of captions.csv in `folder`. Raises `UserError` for the first problem, also with respect to `tasks`."""
    rows, problems = read_table(folder) if tasks is None else read_against(tasks, folder)
    if problems:
        command = "structalign data check" if folder == DATA else f"structalign data check {folder}"
        more = f" ({plural(len(problems) - 1, 'more problem')}: `{command}` lists all)" if len(problems) > 1 else ""
        raise UserError(f"{folder / 'captions.csv'}, {problems[0]}.{more}")
    return rows


def read_against(tasks: dict[str, Task], folder: Path = DATA) -> tuple[list[CaptionRow], list[Problem]]:
    """`read_table`, and the problems of the table for these tasks.

    Problems of a whole task count only if all rows are good, since a bad row may be the one that a task seems to lack.
    """
    rows, problems = read_table(folder)
    wanted = against_tasks(rows, tasks)
    return rows, problems + ([problem for problem in wanted if problem.rows] if problems else wanted)


def read_table(folder: Path = DATA) -> tuple[list[CaptionRow], list[Problem]]:
    """The good rows of captions.csv, and all problems in it. Raises `UserError` if it is no table at all."""
    path = folder / "captions.csv"
    if os.path.isfile(folder):  # unlike pathlib, it takes a name that is too long  # noqa: PTH113
        where = folder.absolute().parent
        raise UserError(f"{folder} is a file: name the folder with captions.csv and videos/, here {where}.")
    try:
        if path.exists() and not path.is_file():  # reading a pipe would block
            raise UserError(f"{path} is not a regular file: replace it by the table itself.")
        with path.open(encoding="utf-8-sig", newline="") as stream:
            lines = [[cell.strip() for cell in line] for line in csv.reader(stream, strict=True)]
    except FileNotFoundError:
        way = "run `dvc pull data` for the sample, or `structalign init DIR` for your own videos"
        if folder != DATA:
            way = "a folder of your own videos needs captions.csv and videos/ (docs/data.md)"
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
        problems.append(Problem("the table has no rows: write one row per caption"))
    return rows, grouped(problems) + list(_contradictions(rows))


def grouped(problems: Iterable[Problem]) -> list[Problem]:
    """Problems with the same text and column, merged into one with all their rows."""
    rows: dict[tuple[str, str], list[int]] = {}
    for problem in problems:
        rows.setdefault((problem.text, problem.column), []).extend(problem.rows)
    return [Problem(text, tuple(numbers), column) for (text, column), numbers in rows.items()]


def write_captions(folder: Path, rows: Iterable[CaptionRow]) -> None:
    """Write captions.csv into `folder`, for `read_captions`."""
    with (folder / "captions.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow((*REQUIRED, *OPTIONAL))
        writer.writerows((row.video, row.caption, row.category, row.split, row.start, row.end) for row in rows)


def _header(header: list[str]) -> Iterator[Problem]:
    known = (*REQUIRED, *OPTIONAL)
    if len(header) == 1 and (separator := next((mark for mark in ";\t|" if mark in header[0]), "")):
        yield Problem(f"the columns are separated by {separator!r}: save the table with commas", (1,), header[0])
        return
    unknown = [column for column in dict.fromkeys(header) if column not in known]
    misspelt = any(_near(column, unknown) for column in REQUIRED) and not set(header) & set(SPLITS)
    if len(unknown) == len(set(header)) and not misspelt:
        yield Problem(
            f"the first row names no column: write {','.join(REQUIRED)} above it, in the order of your columns", (1,)
        )
        return
    for column in REQUIRED:
        if column not in header:
            near = _near(column, unknown)
            way = (
                f"rename `{shortened(near[0])}`"
                if near
                else f"the first row must name {', '.join(REQUIRED)}, but it has {shortened(', '.join(header))}"
            )
            yield Problem(f"the column is missing: {way}", (1,), column)
            unknown = [other for other in unknown if other not in near]
    for column in unknown:
        yield Problem(f"the column is unknown: delete it, or rename it to one of {', '.join(known)}", (1,), column)
    for column in dict.fromkeys(header):
        if header.count(column) > 1:
            yield Problem("the column is there twice: delete one", (1,), column)


def _near(column: str, unknown: list[str]) -> list[str]:
    """Unknown names in the table that may be a misspelling of this column."""
    return difflib.get_close_matches(column, unknown, n=1, cutoff=0.5)


def _wrong(number: int, line: list[str], header: list[str], videos: Path) -> Iterator[Problem]:
    """The problems of a single row."""
    if len(line) != len(header):
        text = f"the row has {plural(len(line), 'cell')}, not {len(header)}: put a text with commas in quotes"
        yield Problem(text, (number,), header[min(len(line), len(header) - 1)])
        return
    cells = dict(zip(header, line, strict=True))
    for column in ("caption", "category"):
        if not cells[column]:
            yield Problem(f"the cell is empty: write the {column}, or delete the row", (number,), column)
    if "${" in cells["category"]:
        yield Problem("the name has `${`, which DVC would replace: choose another name", (number,), "category")
    if cells["split"] not in SPLITS:
        yield Problem(
            f"{shortened(cells['split'])!r} is not a split: write one of {', '.join(SPLITS)}", (number,), "split"
        )
    video, named = PurePosixPath(cells["video"]), shortened(cells["video"])
    if not cells["video"]:
        yield Problem("the cell is empty: name a file in videos/, or delete the row", (number,), "video")
    elif (folder := _folder_above(video, videos)) is not None:
        text = f"the path must be relative to videos/: remove `{shortened(folder)}` at its beginning"
        yield Problem(text, (number,), "video")
    elif video.is_absolute() or ".." in video.parts or "\\" in cells["video"]:
        yield Problem(
            f"{named!r} leads out of videos/: name a file in videos/, and separate folders by `/`", (number,), "video"
        )
    elif "#" in cells["video"]:
        yield Problem(f"{named!r} has `#`, which marks a stretch of a file: rename the file", (number,), "video")
    yield from _wrong_times(number, cells)


def _folder_above(video: PurePosixPath, videos: Path) -> str | None:
    """The beginning of a path, if the rest is a file in videos/. None otherwise."""
    for place in [place for place, part in enumerate(video.parts[:-1], start=1) if part == videos.name]:
        rest = PurePosixPath(*video.parts[place:])
        if ".." not in rest.parts and os.path.isfile(videos / rest) and not os.path.isfile(videos / video):  # noqa: PTH113
            return str(video).removesuffix(str(rest))
    return None


def _wrong_times(number: int, cells: dict[str, str]) -> Iterator[Problem]:
    times: dict[str, float] = {}
    for column in OPTIONAL:
        text = cells.get(column, "")
        value = (float(text) if SECONDS.fullmatch(text) else math.nan) if text else None
        if CLOCK.fullmatch(text):
            yield Problem("it is a clock time: write seconds, for example 65.5 for 1:05.5", (number,), column)
        elif COMMA.fullmatch(text):
            yield Problem("it has a decimal comma: write seconds with a point, for example 1.5", (number,), column)
        elif value is not None and not 0 <= value < math.inf:
            yield Problem(
                f"{shortened(text)!r} is not a time: write seconds of at least 0, or leave the cell empty",
                (number,),
                column,
            )
        elif value is not None:
            times[column] = value
    if times.get("end", math.inf) <= times.get("start", 0.0):
        yield Problem(f"the end {cells['end']} is not after the start: write a later end, in seconds", (number,), "end")


def _row(number: int, cells: dict[str, str]) -> CaptionRow:
    start, end = (float(text) if (text := cells.get(column, "")) else None for column in OPTIONAL)
    split: Split = next(split for split in SPLITS if split == cells["split"])
    video = str(PurePosixPath(cells["video"]))
    return CaptionRow(number, video, cells["caption"], cells["category"], split, start, end)


def _contradictions(rows: list[CaptionRow]) -> Iterator[Problem]:
    """Rows that contradict an earlier row, in a clip's category or split, or that repeat it."""
    category: dict[str, CaptionRow] = {}
    of_file: dict[str, list[CaptionRow]] = {}
    caption: dict[tuple[str, str], CaptionRow] = {}
    found: dict[tuple[str, str], list[int]] = {}  # (column, text) -> the rows with this problem
    for row in rows:
        first = category.setdefault(row.id, row)
        if first.category != row.category:
            text = f"{row.id} has category {row.category!r}, but {first.category!r} in row {first.number}: choose one"
            found.setdefault(("category", text), []).append(row.number)
        of_file.setdefault(row.video, []).append(row)
        first = caption.setdefault((row.id, row.caption), row)
        if first is not row:
            found.setdefault(("caption", f"the row repeats row {first.number}: keep one of them"), []).append(
                row.number
            )
    for rows_of_file in of_file.values():
        for first, row in overlaps(rows_of_file, lambda row: row.split):
            text = (
                f"{row.video} has split {row.split}, but {first.split} in row {first.number}, and the two overlap: "
                "choose one split for both"
            )
            found.setdefault(("split", text), []).append(row.number)
    for (column, text), numbers in found.items():
        yield Problem(text, tuple(numbers), column)


def overlaps(
    rows: Iterable[CaptionRow], side: Callable[[CaptionRow], object]
) -> Iterator[tuple[CaptionRow, CaptionRow]]:
    """Pairs (a row, a later row) that show overlapping stretches of one content and are on different sides.

    There is at most one pair per later row. Stretches that only touch, such as 0–5 and 5–10 seconds, do not overlap.
    """
    found: dict[int, tuple[CaptionRow, CaptionRow]] = {}
    longest: dict[object, CaptionRow] = {}  # per side: of the rows that begin no later, the one that ends last
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
    """What the table lacks for these tasks.

    Each category needs a task and a training video. Each task needs two training videos and one test video.
    """
    problems: list[Problem] = []
    owner = {category: key for key, task in tasks.items() for category in task.categories}
    named = {row.category for row in rows}
    stray: dict[str, int] = {}
    for row in rows:
        if row.category not in owner:
            stray.setdefault(row.category, row.number)
    for category, number in stray.items():
        text = f"{category!r} is in no task of tasks.yaml: append one with `structalign task add '{category}'`"
        alike = [name for name in owner if folded(name) == folded(category)]
        unnamed = [name for name in owner if name not in named]
        if near := alike or difflib.get_close_matches(category, unnamed, n=1):
            text = f"{category!r} is in no task of tasks.yaml, which has {near[0]!r}: use the same name in both"
        problems.append(Problem(text, (number,), "category"))
    trained = {row.id: row.category for row in rows if row.split == "train"}
    tested = {owner[row.category] for row in rows if row.split == "test" and row.category in owner}
    for key, task in tasks.items():
        for category in task.categories:
            if category not in trained.values():
                text = f"{category!r} of task {key} has no training video: add rows, or remove it from tasks.yaml"
                problems.append(Problem(text))
        if sum(owner.get(category) == key for category in trained.values()) == 1:
            names = ", ".join(task.categories)
            text = f"task {key} ({names}) has only one training video, but training needs two: add rows of split train"
            problems.append(Problem(text))
        if key not in tested:
            problems.append(Problem(f"task {key} has no test video: add rows of split test"))
    return problems


def categories(rows: Iterable[CaptionRow]) -> list[str]:
    """The categories, in the order of their first rows."""
    return list(dict.fromkeys(row.category for row in rows))
