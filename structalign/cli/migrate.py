"""`structalign migrate`: update params.yaml, tasks.yaml and presets of an older version.

Keys are edited in place, so comments and layout stay. Either all files are written, or none.
"""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from structalign.cli.preset import refuse_uncommitted
from structalign.cli.splicing import has, insert_after, remove, rename, replace_value
from structalign.console import say
from structalign.data.tasks import FORMER_COLUMNS, TASKS, read_tasks
from structalign.errors import UserError
from structalign.params import former
from structalign.params.reading import PARAMS
from structalign.params.schema import defaults, keys, validate
from structalign.params.section import both_names, leaves, written
from structalign.presets import PRESETS, read_preset
from structalign.store import whole
from structalign.strict_yaml import load_yaml, parse_yaml

NEXT = """Next:
  git commit -am 'Migrate to this version'
  dvc repro
Every stage runs once, because each stage now depends on a digest of its code.
You can read the old checkpoints until then."""

app = typer.Typer(add_completion=False)


@dataclass
class Migration:
    """A file of an older version, its new text and the list of changes."""

    path: Path
    text: str
    changes: list[str] = field(default_factory=list)


@app.command()
def migrate(
    diff: Annotated[bool, typer.Option("--diff", help="Show the changes without making them.")] = False,
) -> None:
    """Update params.yaml, tasks.yaml and presets of an older version. Comments stay."""
    files = [migrated_params(), migrated_tasks(), *map(migrated_preset, sorted(PRESETS.glob("*.yaml")))]
    changed = [file for file in files if file.changes]
    for file in changed:
        say("\n".join(f"{file.path}: {change}" for change in file.changes))
    if not changed:
        say(f"{PARAMS}, {TASKS} and {PRESETS}/ already fit this version: nothing to do.")
    if diff or not changed:
        return
    for file in changed:
        refuse_uncommitted(file.path)
    with ExitStack() as stack:
        for file in changed:
            stack.enter_context(whole(file.path)).write_bytes(file.text.encode())
    say(NEXT)


def migrated_params() -> Migration:
    """params.yaml with the keys of this version and its old effect."""
    tree, file = _read(PARAMS)
    if isinstance(tree, Mapping):
        before = dict(leaves(tree))
        prior, now = before.get("ranking.task_prior"), former.task_prior_now(before)
        if isinstance(prior, int | float) and now != prior:
            file.text = replace_value(file.text, "ranking.task_prior", written(now))
            file.changes.append(f"ranking.task_prior: {written(prior)} -> {now}, which has the same effect")
        elif prior and former.GONE.keys() & before.keys():
            file.changes.append(
                f"ranking.task_prior stays {written(prior)}. It now acts on every method, and its default is 0."
            )
        _take_new_names(file)
        _add_new_keys(file)
    validate(parse_yaml(file.text, str(PARAMS)))
    return file


def migrated_tasks() -> Migration:
    """tasks.yaml without the columns that are no longer used."""
    tasks, (_, file) = read_tasks(), _read(TASKS)
    for column in FORMER_COLUMNS:
        keys = [key for key in (f"tasks.{task}.{column}" for task in tasks) if has(file.text, key)]
        for key in keys:
            file.text = remove(file.text, key)
        if keys:
            file.changes.append(f"without the column {column}")
    return file


def migrated_preset(path: Path) -> Migration:
    """A preset with the keys of this version. `structalign preset` reports all other faults of a preset."""
    tree, file = _read(path)
    if isinstance(tree, Mapping):
        _take_new_names(file)
    if file.changes:
        new = parse_yaml(file.text, str(path))
        if not new:
            raise UserError(f"{path} only sets {', '.join(former.GONE)}, which no longer exists: delete the file.")
        read_preset(path.stem, lambda _: new)  # refuses a key that params.yaml lacks
    return file


def _read(path: Path) -> tuple[Any, Migration]:
    """The tree of a YAML file, and its text with the original line ends."""
    return load_yaml(path), Migration(path, path.read_bytes().decode())


def _add_new_keys(file: Migration) -> None:
    """Add the keys that older versions lacked, each after the key or section that it follows."""
    known = keys()
    for key, value in defaults().items():
        parts, before = key.split("."), list(known)[list(known).index(key) - 1].split(".")
        shared = next(depth for depth, part in enumerate(parts) if before[depth] != part)
        place = ".".join(before[: shared + 1])
        if not has(file.text, key) and has(file.text, place):
            name = ".".join(parts[shared:])
            file.text = insert_after(file.text, place, name, written(value), known[key].meaning)
            file.changes.append(f"with {key}: {written(value)}, as before")


def _take_new_names(file: Migration) -> None:
    for old, new in former.RENAMED.items():
        if not has(file.text, old):
            continue
        if has(file.text, new):
            raise UserError(f"{file.path} {both_names(old, new)}.")
        file.text = rename(file.text, old, new.rpartition(".")[2])
        file.changes.append(f"{old} -> {new}")
    for key, reason in former.GONE.items():
        if has(file.text, key):
            try:
                file.text = remove(file.text, key)
            except ValueError as error:
                raise UserError(f"{file.path}: {error}, then run again.") from None
            file.changes.append(f"without {key}: {reason}")
