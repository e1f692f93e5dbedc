"""Read a file from git's last commit."""

import subprocess
from pathlib import Path


def committed_bytes(path: Path) -> bytes | None:
    """A file's content in the last commit. None without git, without a commit, or if the commit lacks the file."""
    command = ["git", "show", f"HEAD:./{path.name}"]
    try:
        shown = subprocess.run(command, cwd=path.parent, capture_output=True, check=False)
    except OSError:  # no git, or no such folder
        return None
    return None if shown.returncode else shown.stdout
