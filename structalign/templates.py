"""The files that a new project is made of: this repository's own, packed into the wheel as project.zip.

Standard library alone: `packing` reads this file while the wheel is built, where nothing of ours can be imported.
"""

from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

FILES = (
    "dvc.yaml",
    "joint/*.yaml",
    "params.yaml",
    "tasks.yaml",
    "presets/*.yaml",
    "stages/*.py",
    ".dvc/config",
    ".dvc/plots/*.json",
    ".dvcignore",
    ".gitattributes",
    ".gitignore",
)
PACKED = Path(__file__).with_name("project.zip")
REPOSITORY = Path(__file__).parents[1]


def own_files(root: Path = REPOSITORY) -> dict[str, bytes]:
    """The files below a clone of the repository that a project takes, by their name in it."""
    found = sorted({path for pattern in FILES for path in root.glob(pattern) if path.is_file()})
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in found}


def pack(root: Path, archive: Path) -> None:
    """Write those of the clone `root` to a zip archive; equal files give equal bytes."""
    with ZipFile(archive, "w") as stream:
        for name, content in own_files(root).items():
            stream.writestr(ZipInfo(name), content, ZIP_DEFLATED)


def templates() -> dict[str, bytes]:
    """The files of a new project by name: as packed, or this clone's where the library runs from one."""
    if not PACKED.is_file():
        return own_files()
    with ZipFile(PACKED) as stream:
        return {name: stream.read(name) for name in stream.namelist()}
