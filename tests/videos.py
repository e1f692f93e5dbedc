"""Small video files for tests, made with the ffmpeg that decodes them."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from imageio_ffmpeg import get_ffmpeg_exe

Make = Callable[..., Path]
CASES = Path(__file__).parent / "data" / "cases"
GREY = "color=black:size=64x48:rate=10:duration=2,format=yuv420p,geq=lum='20+10*N':cb=128:cr=128"


def ffmpeg(*arguments: str | Path) -> None:
    """Run ffmpeg. An error message of ffmpeg fails the test."""
    command = [get_ffmpeg_exe(), "-nostdin", "-v", "error", "-y", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def numbers(frames: np.ndarray[Any, Any]) -> list[int]:
    """The number of each frame in GREY, read from its brightness (16..235 becomes 0..255)."""
    return [round((float(frame.mean()) / 255 * 219 + 16 - 20) / 10) for frame in frames]


def maker(folder: Path) -> Make:
    """Make files in a folder with ffmpeg: `make("a.mp4", "lavfi source", "-output", "options")`."""

    def make(name: str, source: str, *options: str) -> Path:
        ffmpeg("-f", "lavfi", "-i", source, *options, folder / name)
        return folder / name

    return make
