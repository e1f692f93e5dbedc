"""One decoded clip in a file of its own: what the frames stage keeps of a run that was interrupted."""

import hashlib
import json
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from structalign.data.manifest import Video
from structalign.data.video import DecodedClip
from structalign.store import whole


def place(folder: Path, video: Video) -> Path:
    """The clip's file, named by what it shows: the video's content and the stretch, and its split."""
    name = hashlib.sha256(repr((video.sha256, video.start, video.end, video.split)).encode()).hexdigest()
    return folder / f"{name}.safetensors"


def keep(file: Path, clip: DecodedClip) -> None:
    """Write a clip, whole or not at all."""
    times = {"times": clip.times, "start": clip.start, "duration": clip.duration, "damage": clip.damage}
    with whole(file) as part:
        save_file({"frames": clip.frames, "thumbnails": clip.thumbnails}, part, {"times": json.dumps(times)})


def kept(file: Path) -> DecodedClip | None:
    """The clip that `keep` wrote, to the bit, or None."""
    if not file.exists():
        return None
    try:
        with safe_open(file, framework="numpy") as stored:
            times = json.loads(stored.metadata()["times"])
            return DecodedClip(frames=stored.get_tensor("frames"), thumbnails=stored.get_tensor("thumbnails"), **times)
    except (SafetensorError, TypeError, KeyError, ValueError):  # half a file, after a machine lost power
        return None
