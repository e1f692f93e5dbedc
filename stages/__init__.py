"""The pipeline's stages, and what watches over one that DVC started.

It ends with DVC on Linux, else it would write into the next run's outputs. It refuses to run code that `check` has not
seen, else DVC would record the results under the code from before.

This stands here, in no stage's digest of code, because it acts before the seconds of imports and changes no result.
"""

import gc
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


def refuse_unseen_code(target: str) -> None:
    """Exit with one sentence if the code of DVC's `target` (`train@t02`) is not what work/code says."""
    from structalign.code_digest import LOADED_BY_NAME, Code, stage_digest
    from structalign.errors import UserError
    from structalign.params.reading import PARAMS
    from structalign.paths import CODE
    from structalign.strict_yaml import load_yaml
    from structalign.text import visible

    stage = target.rpartition(":")[2].partition("@")[0]
    seen, code = CODE / stage, Code()
    if stage == "check" or code.file(f"stages.{stage}") is None:  # or a stage of someone's own that runs one of ours
        return
    try:
        now = stage_digest(code, stage, load_yaml(PARAMS) if stage in LOADED_BY_NAME else {})
    except (UserError, KeyError, TypeError, AttributeError) as error:  # no file of the method that params.yaml names
        sys.exit(f"error: {visible(check_says(PARAMS) or str(error))}")
    if not seen.is_file() or seen.read_text(encoding="utf-8").strip() != now:
        sys.exit(
            f"error: {seen} is not the digest of the code of {stage}, which was edited after `check` ran: run "
            f"`dvc repro`, or for this stage alone `dvc repro -s check {target}`."
        )


def check_says(params: Path) -> str | None:
    """The sentence in which `check` refuses params.yaml; None where it does not."""
    from structalign.errors import UserError
    from structalign.params.schema import validate
    from structalign.strict_yaml import load_yaml

    try:
        validate(load_yaml(params))
    except UserError as error:
        return str(error)
    return None


if importlib.util.find_spec("typer") is None:  # a `python` on PATH that is not the environment's
    sys.exit("error: this python lacks the project's packages: activate the environment, `source .venv/bin/activate`.")
if sys.platform == "linux" and "DVC_STAGE" in os.environ:
    with suppress(OSError):  # a kernel without it, or a process of someone else's
        end_with(dvc_above())
if "DVC_STAGE" in os.environ:
    gc.disable()  # until the stage's imports are made; `console.command` goes on with it
    refuse_unseen_code(os.environ["DVC_STAGE"])
