"""The files of a new project: those of this repository, packed into the wheel as project.zip.

This module only uses the standard library: `packing` loads it during the build, when the package is not installed.
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
    """The files of a clone of the repository that a project gets, by their name in the project."""
    found = sorted({path for pattern in FILES for path in root.glob(pattern) if path.is_file()})
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in found}


def pack(root: Path, archive: Path) -> None:
    """Write the files of the clone `root` to a zip archive. Equal files give equal bytes."""
    with ZipFile(archive, "w") as stream:
        for name, content in own_files(root).items():
            stream.writestr(ZipInfo(name), content, ZIP_DEFLATED)


def templates() -> dict[str, bytes]:
    """The files of a new project by name: those in the wheel, or those of the clone that the library runs from."""
    if not PACKED.is_file():
        return own_files()
    with ZipFile(PACKED) as stream:
        return {name: stream.read(name) for name in stream.namelist()}
