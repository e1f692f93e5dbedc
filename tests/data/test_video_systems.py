"""Systems on which videos cannot be decoded say so, before anything is opened."""

import subprocess
import sys
from pathlib import Path

import pytest
from codemap import ROOT

from structalign.data.video import clip_length, decode, require_ffmpeg
from structalign.errors import UserError

# Removes what Windows lacks, after importing the dependencies and before importing the library.
WINDOWS = """
import signal, sys
import ffmpeg, imageio_ffmpeg, numpy, PIL.Image, pydantic, yaml
del signal.SIGHUP, signal.SIGKILL
sys.modules["resource"] = sys.modules["fcntl"] = None
sys.platform = "win32"
from structalign.data.video import decode
from structalign.errors import UserError
try:
    decode("video.mp4", 8, 48)
except UserError as error:
    print(error)
"""


def test_windows_is_refused_with_a_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "video.mp4").write_bytes(b"anything")
    monkeypatch.setattr("sys.platform", "win32")
    for refused in (lambda: decode(tmp_path / "video.mp4", 8, 48), lambda: clip_length(tmp_path / "video.mp4")):
        with pytest.raises(UserError, match=r"Windows.*WSL"):
            refused()
    with pytest.raises(UserError, match=r"Windows.*WSL"):
        require_ffmpeg()


def test_windows_is_refused_though_it_lacks_signals_and_limits() -> None:
    done = subprocess.run([sys.executable, "-c", WINDOWS], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, "WSL" in done.stdout, done.stdout.count("\n")) == (0, True, 1), done.stderr
