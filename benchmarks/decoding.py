"""Decoding a dozen frames of a long video: ours, against one plain pass of ffmpeg that discards all frames.

Both use one thread and decode every frame. Decoding fewer frames would have to trust the file's index. Ours also
reports every frame's time, and scales the frames that it keeps.
"""

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from imageio_ffmpeg import get_ffmpeg_exe

from benchmarks.measuring import Row, in_turn
from structalign.data.video import decode


def decoding(toy: bool) -> Iterator[Row]:
    """Frames of a long video."""
    seconds, height, frames, size = (2, 48, 2, 16) if toy else (120, 720, 12, 224)
    with tempfile.TemporaryDirectory() as folder:
        video = make_video(Path(folder) / "video.mp4", seconds, height)
        command = [get_ffmpeg_exe(), "-nostdin", "-v", "error", "-threads", "1", "-i", str(video), "-map", "0:v"]
        ways = {
            "one pass of ffmpeg": lambda: subprocess.run([*command, "-f", "null", "-"], check=True),
            "ours": lambda: decode(video, frames, size, timeout=3600, thumbnails=True),
        }
        yield in_turn(f"decoding {seconds} s of {height}p to {frames} frames", ways, 1 if toy else 3)


def make_video(path: Path, seconds: int, height: int) -> Path:
    """A moving test picture with grain, h264 at 25 frames a second."""
    source = f"testsrc2=size={height * 16 // 9 // 2 * 2}x{height}:rate=25:duration={seconds},noise=alls=6:allf=t"
    writing = ["-c:v", "libx264", "-preset", "veryfast", "-crf", "28", "-pix_fmt", "yuv420p"]
    command = [get_ffmpeg_exe(), "-nostdin", "-v", "error", "-f", "lavfi", "-i", source, *writing, str(path)]
    subprocess.run(command, check=True)
    return path
