"""Run DVC's commands."""

import os
import subprocess
import sys

from structalign.errors import UserError
from structalign.extras import require

NO_REASON = "no reason given"
OUTSIDE = "not inside of a DVC repository"  # in DVC's words


def run_dvc(*arguments: str, **variables: str) -> str:
    """Run DVC in the current folder and return its output. Raises `UserError` with DVC's reason if it fails.

    variables: of the environment.
    """
    require("dvc")
    command = [sys.executable, "-m", "dvc", *arguments]
    environment = os.environ | variables
    done = subprocess.run(command, env=environment, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        lines = [line for line in (done.stderr.strip() or done.stdout.strip()).splitlines() if line.strip()]
        errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")] or lines[-1:]
        reason = "; ".join(errors).rstrip(".") or NO_REASON
        way = "fix that and run it again"
        if OUTSIDE in reason:
            way = "run this in a project's folder, or make a project with `structalign new DIR`"
        raise UserError(f"`dvc {' '.join(arguments)}` failed ({reason}): {way}.")
    return done.stdout
