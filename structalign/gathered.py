"""The hashes of a backbone's files as `prepare` gathered them: what a stage loads is what was copied."""

from pathlib import Path

from structalign.store import damaged, digest, read_json, reading, write_json

HASHES = "gathered.json"  # beside the files: SHA-256 by name


def write_hashes(folder: Path) -> None:
    """Write the hashes of the files in `folder`."""
    files = {path.name: digest(path) for path in sorted(folder.iterdir()) if path.name != HASHES}
    write_json(folder / HASHES, files)


def verify_gathered(folder: Path) -> None:
    """`UserError` if a file in `folder` is not what was gathered; a folder that was not gathered is left alone."""
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
                raise damaged(folder / name, "it is not what `prepare` gathered")
