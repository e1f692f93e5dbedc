"""Decode the frames of a task's videos on all cores.

Broken videos are skipped, and damaged ones are noted. Either can stop the run instead.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from structalign.console import command, track
from structalign.data.clip_cache import place, read_decoded, write_decoded
from structalign.data.collection import why_absent
from structalign.data.frame_store import FrameArray, write_split
from structalign.data.manifest import SPLITS, Video, read_videos
from structalign.data.parallel import in_order
from structalign.data.shards import VideoRow
from structalign.data.thumbnails import encode, write_thumbs
from structalign.data.video import BrokenVideo, DecodedClip, decode, require_ffmpeg, stop_all
from structalign.errors import UserError
from structalign.item_cache import load_or_make
from structalign.params.data import DataParams
from structalign.params.frames import FramesParams
from structalign.params.reading import read
from structalign.paths import DATA, FRAMES, MANIFEST, QUARANTINE, THUMBNAILS
from structalign.scratch import scratch
from structalign.store import digest, read_json, reading, write_json


def main(task: str) -> None:
    """Write work/frames/TASK, work/thumbs/TASK (test videos only) and work/quarantine/TASK.json."""
    data, sampling = read("data", DataParams), read("frames", FramesParams)
    videos = read_videos(task)
    require_ffmpeg()
    quarantine: list[VideoRow] = []
    damaged: list[VideoRow] = []
    thumbs: list[tuple[str, list[bytes]]] = []
    with scratch("frames", task, sampling) as folder:
        for split in SPLITS:
            of_split = [video for video in videos if video.split == split]
            items = _decoded(of_split, f"frames {task} {split}", data, sampling, folder, quarantine, damaged, thumbs)
            write_split(FRAMES / task / split, items)
            if split != "val":
                refuse_lost(task, of_split, quarantine)
        write_thumbs(THUMBNAILS / task, thumbs)
        noted = {"damaged": damaged} if damaged else {}
        write_json(QUARANTINE / f"{task}.json", {"videos": quarantine, **noted})


def _decoded(
    videos: list[Video],
    label: str,
    data: DataParams,
    sampling: FramesParams,
    folder: Path,
    quarantine: list[VideoRow],
    damaged: list[VideoRow],
    thumbs: list[tuple[str, list[bytes]]],
) -> Iterator[tuple[VideoRow, FrameArray]]:
    """(row, frames) of each used video, in order. Also fills `quarantine`, `damaged` and `thumbs`."""
    clips = in_order(partial(_decode, data=data, sampling=sampling, folder=folder), videos, stop=stop_all)
    for video, clip in zip(videos, track(clips, label, len(videos)), strict=True):
        about = {"id": video.id, "file": video.file, "split": video.split}
        if isinstance(clip, BrokenVideo):
            if data.on_broken == "stop":
                raise UserError(
                    f"{DATA / 'videos' / video.file}: {clip}: replace the file, or set `data.on_broken: skip`."
                )
            quarantine.append({**about, "reason": str(clip)})
            continue
        if clip.damage is not None:
            if data.on_damaged == "stop":
                where = f"{DATA / 'videos' / video.file}: it is damaged ({clip.damage})"
                raise UserError(f"{where}: replace the file, or set `data.on_damaged` to `use` or `skip`.")
            (damaged if data.on_damaged == "use" else quarantine).append({**about, "reason": clip.damage})
            if data.on_damaged == "skip":
                continue
        if video.split == "test":
            thumbs.append((video.id, encode(clip.thumbnails)))
        row = {"id": video.id, "category": video.category, "file": video.file, "playing": clip.playing}
        yield row | {"start": clip.start, "duration": clip.duration, "times": clip.times}, clip.frames


def refuse_lost(task: str, videos: list[Video], quarantine: list[VideoRow]) -> None:
    """Raise a `UserError` if all training videos of a category, or all test videos of the task, are broken.

    Without them a category has no prototype, and a task no metrics.
    """
    about = MANIFEST / task / "task.json"
    with reading(about):
        names = {number: name for name, number in read_json(about)["categories"].items()}
    groups: dict[str, list[str]] = {}
    for video in videos:
        group = f"training videos of `{names[video.category]}`" if video.split == "train" else "test videos"
        groups.setdefault(group, []).append(video.id)
    reasons = {row["id"]: row["reason"] for row in quarantine}
    for group, ids in groups.items():
        if reasons.keys() >= set(ids):
            raise UserError(
                f"task {task}: none of the {group} can be decoded ({ids[0]}: {reasons[ids[0]]}): replace "
                "some. `structalign data check` lists all broken videos."
            )


def _decode(video: Video, data: DataParams, sampling: FramesParams, folder: Path) -> DecodedClip | BrokenVideo:
    """The clip, or why it can't be decoded. Raises `UserError` if the file has changed since stage `prepare`.

    `folder` has the clips that an interrupted run has decoded.
    """
    path = DATA / "videos" / video.file
    if why_absent(DATA / "videos", video.file) or digest(path) != video.sha256:
        raise UserError(f"{path} has changed since stage `prepare` ran: run `dvc repro`.")

    def make() -> DecodedClip:
        return decode(
            path,
            sampling.per_video,
            sampling.size,
            video.start,
            video.end,
            data.timeout,
            thumbnails=video.split == "test",
        )

    try:
        return load_or_make(place(folder, video), make, write_decoded, read_decoded)
    except BrokenVideo as reason:
        return reason


if __name__ == "__main__":
    command(main)
