"""The pipeline's stages. One that DVC started ends with it on Linux, else it would write into the next run's outputs.

This stands here, in no stage's list of code, because it acts before the seconds of imports and changes no result.
"""

import importlib.util
import os
import select
import signal
import sys
from contextlib import suppress
from pathlib import Path
from threading import Thread


def dvc_above() -> int:
    """The process that runs DVC: the nearest above, past shells and launchers, that was not given a DVC_STAGE."""
    process = os.getppid()
    while b"\0DVC_STAGE=" in b"\0" + Path(f"/proc/{process}/environ").read_bytes():
        process = int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
    return process


def end_with(process: int) -> None:
    """Wait for the end of `process` in the background, then end this one as `kill -9` would.

    PR_SET_PDEATHSIG would watch the parent alone, which is a shell where that does not replace itself.
    """
    watched = select.poll()
    watched.register(os.pidfd_open(process), select.POLLIN)

    def wait() -> None:
        watched.poll()
        os.kill(os.getpid(), signal.SIGKILL)

    Thread(target=wait, daemon=True).start()


if importlib.util.find_spec("typer") is None:  # a `python` on PATH that is not the environment's
    sys.exit("error: this python lacks the project's packages: activate the environment, `source .venv/bin/activate`.")
if sys.platform == "linux" and "DVC_STAGE" in os.environ:
    with suppress(OSError):  # a kernel without it, or a process of someone else's
        end_with(dvc_above())
