"""Read from DVC's files the hash of every file that DVC stores, and its place in DVC's cache.

DVC trusts a write-protected object in its cache, and a file whose time it knows. So damage is only found by reading
the content. The remedy removes both copies first.
"""

import configparser
import hashlib
import json
import os
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from structalign.errors import UserError
from structalign.strict_yaml import load_texts

HASHED = 2 * 2**30  # bytes
FOLDER = ".dir"  # suffix of a folder's hash, which is the hash of a JSON list of its files


@dataclass(frozen=True)
class Held:
    """A file or folder that DVC stores. `made`: by a stage, else by `dvc add`."""

    path: Path
    hash: str
    made: bool


def way_back(file: Path) -> str:
    """The command that restores a damaged file, depending on what DVC's cache still has."""
    found = _find(file)
    if found is None:
        return "copy it again from its source"
    root, held, name = found
    inside = Path() if root == Path.cwd() else root
    lost, copy = [os.path.relpath(file.absolute(), root)], _object(root, name)
    if copy is not None and copy.is_file() and _md5(copy) == name.removesuffix(FOLDER):
        commands = [f"dvc checkout {shlex.quote(str(held.path))}"]
    else:
        commands = ["dvc repro"] if held.made else [f"dvc pull {shlex.quote(str(held.path))}"]
        lost += [os.path.relpath(copy, root)] if copy is not None and copy.exists() else []
        for brought in _damaged_sources(root, name) if held.made else ():  # it is a copy of these
            lost.append(str(brought))
            commands.insert(0, f"dvc pull {shlex.quote(str(brought.parts[0]))}")
    move = [f"cd {shlex.quote(str(inside))}"] if inside != Path() else []
    remove = f"rm -f {' '.join(map(shlex.quote, lost))}"
    return f"`{' && '.join([*move, remove, *dict.fromkeys(commands)])}` restores it"


def files_of(held: Held, root: Path) -> dict[str, str]:
    """The hash of each file of a folder that DVC stores, by relative path.

    Raises `UserError` if DVC has no list of it.
    """
    listed = _object(root, held.hash)
    try:
        assert listed is not None
        return {str(row["relpath"]): str(row["md5"]) for row in json.loads(listed.read_bytes())}
    except (AssertionError, OSError, ValueError, TypeError, KeyError):
        raise UserError(f"DVC has no list of the files in {held.path}: run `dvc add {held.path}`.") from None


def changed_outputs(root: Path = Path()) -> Iterator[Path]:
    """The outputs of stages that differ from dvc.lock, smallest first, as far as hashing takes only seconds."""
    hashes: dict[Path, str] = {}
    for held in held_by(root / "dvc.lock", made=True):
        try:
            inside = files_of(held, root) if held.hash.endswith(FOLDER) else {"": held.hash}
        except UserError:
            continue
        hashes |= {root / held.path / name: value for name, value in inside.items()}
    sizes = {file: file.stat().st_size for file in hashes if file.is_file()}
    seen = 0
    for file, size in sorted(sizes.items(), key=lambda item: item[1]):
        seen += size
        if seen > HASHED:
            return
        if _md5(file) != hashes[file]:
            yield file


def held_by(file: Path, made: bool = False) -> Iterator[Held]:
    """The entries of a data.dvc or dvc.lock file. There are none if the file can't be read."""
    try:
        tree = load_texts(file)
        stages: Any = tree["stages"].values() if made else [tree]
        for stage in stages:
            for out in stage.get("outs", ()):
                yield Held(Path(out["path"]), str(out.get("md5", "")), made)
    except (UserError, OSError, AttributeError, TypeError, KeyError):
        return


def _find(file: Path) -> tuple[Path, Held, str] | None:
    """(root of the project, the entry with `file`, the hash of the file), or None."""
    place = file.absolute()
    root = next((folder for folder in place.parents if (folder / ".dvc").is_dir()), None)
    if root is None:
        return None
    inside = place.relative_to(root)
    for held in (*held_by(root / "dvc.lock", made=True), *(h for f in root.glob("*.dvc") for h in held_by(f))):
        if held.path == inside:
            return root, held, held.hash
        if held.path in inside.parents:
            try:
                return root, held, files_of(held, root).get(inside.relative_to(held.path).as_posix(), "")
            except UserError:
                return root, held, held.hash
    return None


def _damaged_sources(root: Path, name: str) -> Iterator[Path]:
    """Files of `dvc add` that had this hash, but have changed: a link to the cache shares its damage."""
    for file in root.glob("*.dvc"):
        for held in held_by(file):
            try:
                listed = files_of(held, root)
            except UserError:
                continue
            for inside, value in listed.items():
                source = root / held.path / inside
                if value == name and source.is_file() and _md5(source) != name:
                    yield held.path / inside


def _object(root: Path, name: str) -> Path | None:
    """The object with this hash in DVC's cache."""
    return _cache(root) / "files" / "md5" / name[:2] / name[2:] if len(name) > 2 else None


def _cache(root: Path) -> Path:
    config = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        config.read([root / ".dvc/config", root / ".dvc/config.local"], encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError):
        return root / ".dvc/cache"
    return root / ".dvc" / config.get("cache", "dir", fallback="cache")


def _md5(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
