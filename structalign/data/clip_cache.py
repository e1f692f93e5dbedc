"""Decoded clips of an interrupted run of the frames stage, one file each."""

import hashlib
import json
from pathlib import Path

from safetensors import safe_open
from safetensors.numpy import save_file

from structalign.data.manifest import Video
from structalign.data.video import DecodedClip


def place(folder: Path, video: Video) -> Path:
    """The clip's file, named by the video's content, the stretch and the split."""
    name = hashlib.sha256(repr((video.sha256, video.start, video.end, video.split)).encode()).hexdigest()
    return folder / f"{name}.safetensors"


def write_decoded(clip: DecodedClip, file: Path) -> None:
    """Write a clip."""
    kept = ("times", "start", "duration", "damage", "playing")
    times = {name: getattr(clip, name) for name in kept}
    save_file({"frames": clip.frames, "thumbnails": clip.thumbnails}, file, {"times": json.dumps(times)})


def read_decoded(file: Path) -> DecodedClip:
    """Read the clip that `write_decoded` wrote. It is bit-identical."""
    with safe_open(file, framework="numpy") as stored:
        times = json.loads(stored.metadata()["times"])
        return DecodedClip(frames=stored.get_tensor("frames"), thumbnails=stored.get_tensor("thumbnails"), **times)
