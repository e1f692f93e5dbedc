"""The pipeline's stages, and safeguards for a stage that DVC starts.

On Linux a stage ends with DVC. Otherwise it would write into the next run's outputs. A stage refuses to run code that
`check` has not seen. Otherwise DVC would record the results under the old code.

This code is here, outside every stage's code digest, because it runs before the slow imports and changes no result.
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
    """The process that runs DVC: the nearest ancestor without DVC_STAGE in its environment."""
    process = os.getppid()
    while b"\0DVC_STAGE=" in b"\0" + Path(f"/proc/{process}/environ").read_bytes():
        process = int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
    return process


def end_with(process: int) -> None:
    """Wait for the end of `process` in the background, then end this process like `kill -9`.

    PR_SET_PDEATHSIG is not enough, since it only watches the parent, which may be a shell.
    """
    watched = select.poll()
    watched.register(os.pidfd_open(process), select.POLLIN)

    def wait() -> None:
        watched.poll()
        os.kill(os.getpid(), signal.SIGKILL)

    Thread(target=wait, daemon=True).start()


def refuse_unseen_code(target: str) -> None:
    """Exit with an error if the code of DVC's `target` (`train@t02`) differs from work/code."""
    from structalign.code_digest import LOADED_BY_NAME, Code
    from structalign.code_seen import digest_now
    from structalign.errors import UserError
    from structalign.params.reading import PARAMS
    from structalign.paths import CODE
    from structalign.strict_yaml import load_yaml
    from structalign.text import visible

    stage = target.rpartition(":")[2].partition("@")[0]
    seen = CODE / stage
    if stage == "check" or Code().file(f"stages.{stage}") is None:  # or a user's stage that runs one of ours
        return
    try:
        now = digest_now(stage, load_yaml(PARAMS) if stage in LOADED_BY_NAME else {})
    except (
        UserError,
        KeyError,
        TypeError,
        AttributeError,
    ) as error:  # for example, the method in params.yaml has no file
        sys.exit(f"error: {visible(check_says(PARAMS) or str(error))}")
    if not seen.is_file() or seen.read_text(encoding="utf-8").strip() != now:
        sys.exit(
            f"error: the code of {stage} was edited after stage `check` ran, so it differs from {seen}: run "
            f"`dvc repro`, or only for this stage `dvc repro -s check {target}`."
        )


def check_says(params: Path) -> str | None:
    """The error of `check` for params.yaml, or None."""
    from structalign.errors import UserError
    from structalign.params.schema import validate
    from structalign.strict_yaml import load_yaml

    try:
        validate(load_yaml(params))
    except UserError as error:
        return str(error)
    return None


if importlib.util.find_spec("typer") is None:  # `python` on PATH is another environment's
    sys.exit(
        "error: this Python lacks the project's packages: activate the environment with `source .venv/bin/activate`."
    )
if sys.platform == "linux" and "DVC_STAGE" in os.environ:
    with suppress(OSError):  # an old kernel, or another user's process
        end_with(dvc_above())
if "DVC_STAGE" in os.environ:
    from structalign.heap import keep_freed_memory

    gc.disable()  # until the imports are done; `console.command` turns it on again
    keep_freed_memory()
    refuse_unseen_code(os.environ["DVC_STAGE"])
