"""A long video to a dozen frames: ours, against one plain pass of ffmpeg that decodes it and throws all away.

Both use one thread and decode every frame; less would trust the file's index. Ours also reports every frame's time and
scales the frames that are kept.
"""

import subprocess
import tempfile
from pathlib import Path
from typing import Annotated

import torch
import typer
from imageio_ffmpeg import get_ffmpeg_exe

from benchmarks.options import OUT, REPEATS
from benchmarks.timing import compare, keep, show
from structalign.data.video import decode

GOAL = 0.8


def decoding(
    seconds: Annotated[int, typer.Option(min=1, help="length of the video")] = 120,
    height: Annotated[int, typer.Option(min=48, help="pixels; it is 16:9")] = 720,
    frames: Annotated[int, typer.Option(min=1, help="frames that are taken")] = 12,
    size: Annotated[int, typer.Option(min=16, help="short side of a frame, pixels")] = 224,
    repeats: REPEATS = 3,
    out: OUT = Path("benchmarks/results"),
) -> None:
    """Frames of a long video."""
    options = dict(locals(), out=str(out))
    device = torch.device("cpu")
    with tempfile.TemporaryDirectory() as folder:
        video = make_video(Path(folder) / "video.mp4", seconds, height)

        def ours() -> object:
            return decode(video, frames, size, timeout=3600, thumbnails=True)

        def plain() -> object:
            command = [get_ffmpeg_exe(), "-nostdin", "-v", "error", "-threads", "1", "-i", str(video)]
            return subprocess.run([*command, "-map", "0:v", "-f", "null", "-"], check=True)

        rows = [compare(f"{seconds} s of {height}p to {frames} frames", ours, plain, GOAL, repeats, device)]
    show(rows)
    keep(out, "decoding", device, options, rows)


def make_video(path: Path, seconds: int, height: int) -> Path:
    """A moving test picture with grain, h264 at 25 frames a second."""
    source = f"testsrc2=size={height * 16 // 9 // 2 * 2}x{height}:rate=25:duration={seconds},noise=alls=6:allf=t"
    writing = ["-c:v", "libx264", "-preset", "veryfast", "-crf", "28", "-pix_fmt", "yuv420p"]
    command = [get_ffmpeg_exe(), "-nostdin", "-v", "error", "-f", "lavfi", "-i", source, *writing, str(path)]
    subprocess.run(command, check=True)
    return path
