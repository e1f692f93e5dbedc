"""Inspect the data before a run: counts, seconds, problems and notes, by row."""

from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from structalign.console import track
from structalign.data.captions import CaptionRow, Problem, against_tasks, read_against
from structalign.data.collection import bad_links
from structalign.data.manifest_writer import MEANT, hash_files, same_content, shared_with_training
from structalign.data.names import files_below, spellings
from structalign.data.parallel import in_order
from structalign.data.pretrained import refuse_sample_clip
from structalign.data.tasks import Task
from structalign.data.video import BrokenVideo, Measured, measure, require_ffmpeg, stop_all
from structalign.errors import UserError
from structalign.params.data import DataParams
from structalign.paths import DATA
from structalign.text import plural, some

Cell = tuple[str, str]  # (task, split)


@dataclass
class Findings:
    """Counts by (task, split), and messages: `stops` would stop a run, `notes` would not."""

    videos: Counter[Cell] = field(default_factory=Counter)
    captions: Counter[Cell] = field(default_factory=Counter)
    seconds: dict[Cell, float] = field(default_factory=dict)
    stops: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def inspect(
    tasks: dict[str, Task],
    data: DataParams,
    backbone: str | None,
    folder: Path = DATA,
    frames: int = 1,
    called: str | None = None,
) -> Findings:
    """Read the table, and hash and decode every video. `frames` is the number that a run samples.

    backbone: the CLIP of the run, or None if none is chosen yet. called: what messages call it (`pretrained.resolve`).
    Raises `UserError` only if there is no table or no ffmpeg.
    """
    require_ffmpeg()
    rows, problems = read_against(tasks, folder)
    found = Findings(stops=[_said(problem, folder) for problem in problems])
    if folder == DATA:
        found.stops += bad_links(folder)
    try:
        if backbone is not None:
            refuse_sample_clip(backbone, rows, called)
    except UserError as error:
        found.stops.append(str(error))
    for alike in spellings(row.category for row in rows):
        said = " and ".join(map(repr, alike))
        found.notes.append(
            f"the categories {said} differ only in case, composed or invisible letters: use one spelling"
        )
    hashes, absent = hash_files(rows, folder / "videos")
    for group in same_content(rows, hashes):
        first = {(row.video, row.split): row for row in reversed(group)}.values()
        names = ", ".join(f"{row.video} (row {row.number}, {row.split})" for row in reversed(first))
        if not shared_with_training([group]):
            found.notes.append(f"the same content has several names: {names}")
        else:
            found.stops.append(f"the same content is in training and in evaluation: {names}: keep only one side")
    if not problems and (unnamed := files_below(folder / "videos") - {row.video for row in rows}):
        files = plural(len(unnamed), "file")
        found.notes.append(
            f"{files} in videos/ without a row in captions.csv, which no run uses: {some(sorted(unnamed))}"
        )
    _measure(rows, absent, tasks, data, frames, folder, found)
    return found


def _said(problem: Problem, folder: Path) -> str:
    """The problem as text, with the table's name if it concerns no row."""
    return str(problem) if problem.rows else f"{folder / 'captions.csv'}: {problem}"


def _measure(
    rows: list[CaptionRow],
    absent: dict[str, str],
    tasks: dict[str, Task],
    data: DataParams,
    frames: int,
    folder: Path,
    found: Findings,
) -> None:
    """Count and decode the clips.

    Report missing, broken and damaged ones, and whether a run can continue without them.
    """
    owner = {category: key for key, task in tasks.items() for category in task.categories}
    clips = {row.id: row for row in reversed(rows)}  # each clip's first row
    present = [row for row in clips.values() if row.video not in absent]
    decoded = in_order(partial(_decode, count=frames, folder=folder, timeout=data.timeout), present, stop=stop_all)
    measured = dict(zip([row.id for row in present], track(decoded, "decoding videos", len(present)), strict=True))
    usable_ids, without = set[str](), dict[str, list[str]]()
    elsewhere: dict[str, str] = {}  # row -> the existing file that a missing one probably means
    damaged: dict[str, list[str]] = {}
    for name, row in sorted(clips.items(), key=lambda item: item[1].number):
        clip = measured.get(name) or absent[row.video]
        cell = (owner.get(row.category, "none"), row.split)
        where = f"row {row.number}: {name}"
        if isinstance(clip, str) and clip.startswith(MEANT):
            elsewhere[where] = clip.removeprefix(MEANT)
            continue
        if isinstance(clip, str):
            without.setdefault(clip, []).append(where)
            continue
        if clip.damage:
            damaged.setdefault(clip.damage, []).append(where)
        if clip.damage and data.on_damaged != "use":
            continue
        usable_ids.add(name)
        found.videos[cell] += 1
        found.seconds[cell] = found.seconds.get(cell, 0.0) + clip.duration
    lost = found.stops if data.on_broken == "stop" else found.notes
    left_out = "" if data.on_broken == "stop" else ", left out"
    if elsewhere:
        without[f"{MEANT}{some([*elsewhere.values()])}"] = [*elsewhere]
    lost += [f"{some(places, separator='; ')}: {reason}{left_out}" for reason, places in without.items()]
    fate = "used anyway (`data.on_damaged`)" if data.on_damaged == "use" else "left out"
    said = found.stops if data.on_damaged == "stop" else found.notes
    said += [f"{some(places, separator='; ')}: it is damaged ({how}), {fate}" for how, places in damaged.items()]
    usable = [row for row in rows if row.id in usable_ids]
    found.captions.update((owner.get(row.category, "none"), row.split) for row in usable)
    if len(usable) < len(rows):
        known = set(against_tasks(rows, tasks))
        then = [problem for problem in against_tasks(usable, tasks) if problem not in known]
        found.stops += [f"without missing, broken and damaged videos: {_said(problem, folder)}" for problem in then]


def _decode(row: CaptionRow, count: int, folder: Path, timeout: float) -> Measured | str:
    """The length of the row's clip, or why it can't be decoded."""
    try:
        return measure(folder / "videos" / row.video, count, row.start, row.end, timeout)
    except BrokenVideo as reason:
        return str(reason)
