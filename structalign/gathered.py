"""Hashes of a backbone's files, which `prepare` writes and later stages verify."""

from pathlib import Path

from structalign.store import damaged, digest, read_json, reading, write_json

HASHES = "gathered.json"  # in the same folder: SHA-256 by file name


def write_hashes(folder: Path) -> None:
    """Write the hashes of the files in `folder`."""
    files = {path.name: digest(path) for path in sorted(folder.iterdir()) if path.name != HASHES}
    write_json(folder / HASHES, files)


def is_gathered(folder: Path) -> bool:
    """Whether `prepare` made this folder, as a copy of the CLIP that params.yaml names."""
    return (folder / HASHES).is_file()


def verify_gathered(folder: Path) -> None:
    """Raise a `UserError` if a file in `folder` has changed since `prepare` copied it. Other folders pass."""
    path = folder / HASHES
    if not path.exists():
        return
    with reading(path):
        hashes = dict(read_json(path))
    if others := {file.name for file in folder.iterdir()} - hashes.keys() - {HASHES}:
        raise damaged(path, f"it lacks {', '.join(sorted(others))}")
    for name, expected in hashes.items():
        with reading(folder / name):
            if digest(folder / name) != expected:
                raise damaged(folder / name, "it differs from what `prepare` copied")
