"""Writes and reads video files with the ffmpeg of imageio-ffmpeg."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

import imageio_ffmpeg
import numpy as np
from PIL import Image

RATE = 12
CRF = 29


def write(path: Path, frames: Sequence[Image.Image]) -> None:
    """Encode frames as h264 in mp4. Equal frames give equal bytes."""
    width, height = frames[0].size
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", "-y"]
    command += ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}"]
    command += ["-r", str(RATE), "-i", "-", "-an", "-c:v", "libx264", "-preset", "veryslow"]
    command += ["-crf", str(CRF), "-threads", "1", "-pix_fmt", "yuv420p"]
    # No encoder banner (SEI, type 6), no metadata; fixed muxer; index first.
    command += ["-bsf:v", "filter_units=remove_types=6", "-map_metadata", "-1"]
    command += ["-fflags", "+bitexact", "-flags:v", "+bitexact", "-movflags", "+faststart"]
    pixels = b"".join(frame.tobytes() for frame in frames)
    subprocess.run([*command, str(path)], input=pixels, check=True)


def read(path: Path, size: int) -> np.ndarray:
    """Decode a whole video at ``size`` by ``size`` pixels. Returns [frames, height, width, RGB]."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", "-threads", "1"]
    command += ["-i", str(path), "-vf", f"scale={size}:{size}:flags=bicubic"]
    command += ["-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    raw = subprocess.run(command, capture_output=True, check=True).stdout
    return np.frombuffer(raw, np.uint8).reshape(-1, size, size, 3)
