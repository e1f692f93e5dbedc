"""Divide the captions table among the tasks: clips with their hashes, captions, and all queries up to each task.

Nothing is decoded here, so the frames stage finds broken videos. This module finds missing videos. By content hash it
also finds a video that training and evaluation share under two names.
"""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from structalign.console import track
from structalign.data.captions import CaptionRow, overlaps
from structalign.data.collection import MISSING, why_absent
from structalign.data.manifest import SPLITS, Video
from structalign.data.names import Files
from structalign.data.tasks import Task, category_ids
from structalign.errors import UserError
from structalign.store import digest, write_json

Json = dict[str, Any]
MEANT = f"{MISSING}, and there is "  # followed by the file that was probably meant
EMPTY = hashlib.sha256().hexdigest()  # of a file without content, for example of a failed download


def hash_files(rows: list[CaptionRow], videos: Path) -> tuple[dict[str, str], dict[str, str]]:
    """By name in the table: SHA-256 of each existing file, and the reason for each missing one."""
    reasons = {name: why_absent(videos, name) for name in dict.fromkeys(row.video for row in rows)}
    missing = [name for name, reason in reasons.items() if reason == MISSING]
    if missing:
        files = Files(videos)
        reasons |= {name: f"{MEANT}{meant}" for name in missing if (meant := files.meant(name))}
    there = [name for name, reason in reasons.items() if reason is None]
    hashes = {name: digest(videos / name) for name in track(there, "hashing videos")}
    return hashes, {name: reason for name, reason in reasons.items() if reason is not None}


def same_content(rows: list[CaptionRow], hashes: dict[str, str]) -> list[list[CaptionRow]]:
    """Groups of files with equal content and different names, as the first row of each of their clips.

    Empty files have nothing in common: they are broken videos.
    """
    groups: dict[str, dict[str, CaptionRow]] = {}
    for row in rows:
        if hashes.get(row.video, EMPTY) != EMPTY:
            groups.setdefault(hashes[row.video], {}).setdefault(row.id, row)
    return [[*group.values()] for group in groups.values() if len({row.video for row in group.values()}) > 1]


def shared_with_training(groups: Iterable[list[CaptionRow]]) -> list[tuple[CaptionRow, CaptionRow]]:
    """(training row, validation or test row) for every content of which both show the same seconds."""
    pairs = (pair for group in groups for pair in overlaps(group, lambda row: row.split == "train"))
    return [pair if pair[0].split == "train" else pair[::-1] for pair in pairs]


def refuse_shared(groups: Iterable[list[CaptionRow]]) -> None:
    """Raise a `UserError` if training shares a video with validation or test, which makes results worthless."""
    for trained, other in shared_with_training(groups):
        raise UserError(
            f"captions.csv: {other.video} (row {other.number}, {other.split}) has the same content as "
            f"{trained.video} (row {trained.number}, train): remove one of them."
        )


def write_manifest(
    rows: list[CaptionRow],
    tasks: dict[str, Task],
    hashes: dict[str, str],
    folder: Path,
    duplicates: list[list[CaptionRow]],
    absent: Mapping[str, str],
) -> None:
    """Write a manifest: one folder per task, and report.json with the `absent` files and the reasons."""
    ids = category_ids(tasks)
    task_of_category = {category: key for key, task in tasks.items() for category in task.categories}
    here = [row for row in rows if row.video in hashes]
    queries: list[Json] = []
    for number, (key, task) in enumerate(tasks.items(), start=1):
        of_task = [row for row in here if task_of_category[row.category] == key]
        clips = {row.id: row for row in reversed(of_task)}  # each clip's first row
        videos = [_video(row, hashes, ids) for row in of_task if clips[row.id] is row]
        captions = [
            {"video": row.id, "text": row.caption, "category": ids[row.category]}
            for row in of_task
            if row.split == "train"
        ]
        queries += [
            {
                "video": row.id,
                "text": row.caption,
                "category": ids[row.category],
                "split": row.split,
                "task": key,
            }
            for row in of_task
            if row.split != "train"
        ]
        about = {
            "number": number,
            "prev": task.prev,
            "categories": {name: ids[name] for name in task.categories},
        }
        write_json(folder / key / "task.json", about)
        write_json(folder / key / "videos.json", {"videos": [video.model_dump() for video in videos]})
        write_json(folder / key / "train_captions.json", {"captions": captions})
        write_json(folder / key / "seen.json", {"queries": queries})
    missing: dict[str, list[int]] = {}
    for row in rows:
        if row.video not in hashes:
            missing.setdefault(row.video, []).append(row.number)
    first = {row.id: row for row in reversed(rows)}.values()
    named: dict[str, dict[str, int]] = {key: dict.fromkeys(SPLITS, 0) for key in tasks}
    there: dict[str, dict[str, int]] = {key: dict.fromkeys(SPLITS, 0) for key in tasks}
    for row in first:
        named[task_of_category[row.category]][row.split] += 1
        there[task_of_category[row.category]][row.split] += row.video in hashes
    report = {
        "named": named,
        "there": there,
        "videos": len({row.id for row in here}),
        "captions": len(here),
        "skipped": [{"file": name, "rows": lines, "reason": absent[name]} for name, lines in missing.items()],
        "duplicates": [[*dict.fromkeys(row.video for row in group)] for group in duplicates],
    }
    write_json(folder / "report.json", report)


def _video(row: CaptionRow, hashes: dict[str, str], ids: dict[str, int]) -> Video:
    return Video(
        id=row.id,
        file=row.video,
        sha256=hashes[row.video],
        split=row.split,
        category=ids[row.category],
        start=row.start,
        end=row.end,
    )
