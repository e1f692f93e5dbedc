"""What git's last commit has of a file."""

import subprocess
from pathlib import Path


def committed_bytes(path: Path) -> bytes | None:
    """A file as the last commit has it; None without git, a commit, or the file in it."""
    command = ["git", "show", f"HEAD:./{path.name}"]
    try:
        shown = subprocess.run(command, cwd=path.parent, capture_output=True, check=False)
    except OSError:  # no git, or no such folder
        return None
    return None if shown.returncode else shown.stdout
