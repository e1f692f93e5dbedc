"""dvc.lock and .dvc files: what DVC has recorded, and whether DVC can read it."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from structalign.doctor.finding import Finding, git, remove
from structalign.dvc_command import run_dvc
from structalign.store import refuse_pipe, whole

DATA_FILE = Path("data.dvc")
LOCKS = (Path("dvc.lock"), Path("joint/dvc.lock"))

Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{32}(\.dir)?$")]


class Entry(BaseModel):
    """A path and the hash of its content. The hash of a folder ends in `.dir`."""

    path: str
    md5: Hash | None = None


class Stage(BaseModel):
    """A stage that ran: a part of dvc.lock, and a file of its own in DVC's cache of runs."""

    cmd: str | list[str]
    deps: list[Entry] = []
    params: dict[str, dict[str, Any]] = {}
    outs: list[Entry] = []


class Lock(BaseModel):
    """dvc.lock."""

    schema_: Literal["2.0"] = Field(alias="schema")
    stages: dict[str, Stage] = {}
    datasets: Any = None


class DataFile(BaseModel):
    """data.dvc."""

    outs: list[Entry] = Field(min_length=1)


def parse(path: Path, content: bytes) -> Lock | DataFile | Stage:
    """The content of a DVC file. Raises `ValueError` if DVC would refuse it."""
    try:
        tree = YAML(typ="safe").load(content.decode())
    except (YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{path} is not YAML") from error
    try:
        return (DataFile if path.suffix == ".dvc" else Lock if path.suffix else Stage).model_validate(tree)
    except ValidationError as error:
        raise ValueError(f"{path} does not have the structure of DVC's files") from error


def read(path: Path) -> Lock | DataFile | Stage | None:
    """The content of a DVC file. None if it is missing or can't be read."""
    try:
        refuse_pipe(path)
        return parse(path, path.read_bytes())
    except (OSError, ValueError):
        return None


def outputs() -> Iterator[Entry]:
    """The outputs of all stages that ran, with paths relative to the project's root."""
    for path in LOCKS:
        lock = read(path)
        for stage in lock.stages.values() if isinstance(lock, Lock) else ():
            for out in stage.outs:
                yield out.model_copy(update={"path": (path.parent / out.path).as_posix()})


def tracked_data() -> str | None:
    """The hash of data/ in data.dvc, or None."""
    file = read(DATA_FILE)
    return file.outs[0].md5 if isinstance(file, DataFile) else None


def unreadable() -> Iterator[Finding]:
    """DVC files that DVC can't read: truncated, empty, with merge conflicts or otherwise damaged."""
    for path in (*LOCKS, DATA_FILE):
        if not path.exists() or read(path) is not None:
            continue
        fault = f"{path} can't be read, so DVC refuses to run"
        committed = git("show", f"HEAD:./{path}")
        if committed.returncode == 0 and _is_sound(path, committed.stdout):
            yield Finding(fault, f"`git checkout HEAD -- {path}`", partial(_write, path, committed.stdout))
        elif path != DATA_FILE:
            removal = f"`rm {'-r ' * path.is_dir()}{path}`"
            yield Finding(fault, f"{removal}, then DVC finds the results again", partial(remove, path))
        elif Path("data").is_dir():
            yield Finding(fault, f"`rm {path} && dvc add data`", _add_data)
        else:
            yield Finding(fault, "remove it, put your videos into data/ (docs/data.md) and run `dvc add data`")


def _is_sound(path: Path, content: bytes) -> bool:
    try:
        parse(path, content)
    except ValueError:
        return False
    return True


def _write(path: Path, content: bytes) -> None:
    remove(path)
    with whole(path) as part:
        part.write_bytes(content)


def _add_data() -> None:
    remove(DATA_FILE)
    run_dvc("add", "--quiet", "data")
