"""Whether the decoder came to its end. Otherwise its output is incomplete, however whole it looks."""

import signal
from pathlib import Path

from structalign.data.decoding.broken import BrokenVideo
from structalign.data.decoding.child import Ended
from structalign.errors import UserError

LOGGED = "Exiting normally, received signal"  # ffmpeg finishes its output after a signal, and ends with this status:
STATUS = 255
SIGNALS = ("SIGHUP", "SIGINT", "SIGKILL", "SIGTERM")  # Windows lacks two of these
# signals after which a wrapper around ffmpeg just ends
FROM_OUTSIDE = tuple(getattr(signal, name) for name in SIGNALS if hasattr(signal, name))


class Stopped(UserError):
    """Another process stopped the decoder, for example the system for lack of memory. The video may be sound."""


def refuse_incomplete(ended: Ended, path: Path) -> None:
    """Raise Stopped if another process stopped the decoder of the file `path`, and BrokenVideo if it crashed."""
    if -ended.status in FROM_OUTSIDE or (ended.status == STATUS and LOGGED in ended.log):
        raise Stopped(f"another process stopped ffmpeg while it decoded {path}: run again.")
    if ended.status < 0:
        raise BrokenVideo(f"ffmpeg crashed on it (signal {-ended.status})")
