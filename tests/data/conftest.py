"""Files for the tests of video files."""

from pathlib import Path

import pytest
from videos import Make, ffmpeg


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Make a file with ffmpeg: `make("a.mp4", "lavfi source", "-output", "options")`."""

    def run(name: str, source: str, *options: str) -> Path:
        path = tmp_path / name
        ffmpeg("-f", "lavfi", "-i", source, *options, path)
        return path

    return run
