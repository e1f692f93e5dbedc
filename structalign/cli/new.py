"""`structalign new DIR`: make a project that runs with the installed library.

Its files are those of the repository. One line differs: stage `check` cannot depend on the folder structalign/, which
a project lacks. So it always runs, which takes a second.
"""

import difflib
import shutil
import subprocess
from configparser import ConfigParser
from io import StringIO
from pathlib import Path
from typing import Annotated

import typer

from structalign.console import say
from structalign.dvc_command import run_dvc
from structalign.errors import UserError
from structalign.extras import require
from structalign.store import whole
from structalign.templates import templates

LIBRARY = "      - structalign\n"  # of check's `deps` in dvc.yaml
ALWAYS = "    always_changed: true  # the library is installed, not a folder here\n"
OWN = ("params.yaml", "tasks.yaml", ".dvc/config")  # the user edits these; `structalign migrate` updates them
CONFIG = Path(".dvc/config")
SAMPLE = "sample-remote"

app = typer.Typer(add_completion=False)


@app.command()
def new(
    folder: Annotated[Path, typer.Argument(help="The project's folder, which must be new or empty.")] = Path(),
    update: Annotated[bool, typer.Option("--update", help="Show as a diff how this version's files differ.")] = False,
    sample_from: Annotated[Path | None, typer.Option(help="A clone of the repository, to use its sample data.")] = None,
) -> None:
    """Make a project: dvc.yaml, params.yaml, tasks.yaml, stages and presets, with git and DVC initialised."""
    if update:
        say(difference(folder) or "nothing differs")
        return
    require("dvc")
    refuse_taken(folder)
    remote = sample_of(sample_from) if sample_from is not None else None
    folder.mkdir(parents=True, exist_ok=True)
    run_git(folder, "init", "-q")
    run_dvc("--cd", str(folder), "init", "-q")
    for name, content in project_files(remote).items():
        write(folder / name, content)
    if sample_from is not None:
        shutil.copyfile(sample_from / "data.dvc", folder / "data.dvc")
        run_dvc("--cd", str(folder), "pull", "-q", "data")
    run_git(folder, "add", ".")
    say(f"{folder} is a project now. Next:\n  cd {folder}\n  git commit -m 'Begin'")
    own = "structalign init ~/my-videos --tasks 5 --backbone openai/clip-vit-base-patch32"
    say("  dvc repro" if sample_from is not None else f"  {own}\n  dvc repro")


def project_files(remote: Path | None = None) -> dict[str, bytes]:
    """The files of a project by name. `remote` is the folder of the sample's data."""
    files = templates()
    pipeline = files["dvc.yaml"].decode()
    if pipeline.count(LIBRARY) != 1:
        raise UserError("the library's dvc.yaml has no dependency on structalign: install structalign again.")
    deps = "    deps:\n"
    begin = pipeline.index(LIBRARY)
    place = pipeline.rindex(deps, 0, begin)
    text = pipeline[:place] + ALWAYS + pipeline[place:begin] + pipeline[begin + len(LIBRARY) :]
    return files | {"dvc.yaml": text.encode(), str(CONFIG): config(files[str(CONFIG)].decode(), remote).encode()}


def config(text: str, remote: Path | None) -> str:
    """The repository's .dvc/config, with the sample's remote at its place here, or without it."""
    parser = ConfigParser()
    parser.read_string(text)
    section = "'remote \"sample\"'"
    if remote is None:
        parser.remove_section(section)
        parser.remove_option("core", "remote")
    else:
        parser[section]["url"] = str(remote)
    stream = StringIO()
    parser.write(stream)
    return stream.getvalue()


def sample_of(clone: Path) -> Path:
    """The folder of the sample's data in a clone. Raise a `UserError` if there is none."""
    for name in ("data.dvc", SAMPLE):
        if not (clone / name).exists():
            raise UserError(f"{clone} has no {name}: --sample-from takes a clone of structalign's repository.")
    return (clone / SAMPLE).resolve()


def difference(folder: Path) -> str:
    """A patch for `git apply` from a project's files to this version's, without the files that the user edits."""
    if not (folder / "dvc.yaml").is_file():
        raise UserError(f"{folder} is not a project: it has no dvc.yaml.")
    lines: list[str] = []
    for name, content in project_files().items():
        path = folder / name
        if name in OWN:
            continue
        before = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.is_file() else []
        after = content.decode().splitlines(keepends=True)
        old = f"a/{name}" if path.is_file() else "/dev/null"
        lines += difflib.unified_diff(before, after, old, f"b/{name}")
    return "".join(lines).rstrip("\n")


def refuse_taken(folder: Path) -> None:
    """Raise a `UserError` if the folder has files that would be overwritten or mixed in."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} is not empty: name a new folder, for example `structalign new my-project`.")


def write(path: Path, content: bytes) -> None:
    """Write a file completely or not at all. Make its folder if needed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole(path) as temporary:
        temporary.write_bytes(content)


def run_git(folder: Path, *arguments: str) -> None:
    """Run git in a folder. Raise a `UserError` with git's reason if it fails."""
    try:
        done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise UserError("git is not installed, but a project needs it: install git and run again.") from None
    if done.returncode:
        raise UserError(f"`git {' '.join(arguments)}` failed in {folder}: {done.stderr.strip().rstrip('.')}.")
