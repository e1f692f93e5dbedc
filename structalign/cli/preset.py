"""`structalign preset NAME...`: overlay differences on params.yaml, and deal the categories into other tasks.

A preset is a file of presets/ that holds only what differs, in the shape of params.yaml, and may say
`tasks: 10`: how many tasks the categories of tasks.yaml are dealt into, in their order.
"""

import subprocess
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Any

import typer
from ruamel.yaml import YAML, YAMLError

from structalign.data.tasks import Task, category_ids, read_tasks, write_tasks
from structalign.errors import UserError
from structalign.params import PARAMS
from structalign.sections.all import leaves, refuse_too_many, refuse_unknown, validate
from structalign.store import whole

PRESETS = Path("presets")
TASKS = Path("tasks.yaml")

app = typer.Typer()


@app.command()
def preset(
    names: list[str] = typer.Argument(help="Files of presets/ without .yaml, overlaid from left to right."),
    diff: bool = typer.Option(False, "--diff", help="Show what would change, and change nothing."),
) -> None:
    """Overlay presets on params.yaml; comments stay, uncommitted edits are never overwritten."""
    yaml = YAML()  # YAML 1.2; comments and the writing of untouched numbers survive
    yaml.width = 4096
    params = _load(yaml, PARAMS)
    before = dict(leaves(params))
    count: int | None = None
    for name in names:
        differences = read_preset(yaml, name)
        count = differences.pop("tasks", count)
        overlay(params, differences)
    categories = list(category_ids(read_tasks(TASKS)))
    tasks = deal(categories, count) if count is not None else read_tasks(TASKS)
    refuse_too_many(validate(params), len(categories))

    changed = [key for key, value in leaves(params) if before[key] != value]
    for key in changed:
        typer.echo(f"{key}: {before[key]} -> {dict(leaves(params))[key]}")
    retasked = tasks != read_tasks(TASKS)
    if retasked:
        typer.echo(f"tasks: {len(read_tasks(TASKS))} -> {len(tasks)}")
    if diff:
        return
    refuse_uncommitted([path for path, touched in ((PARAMS, changed), (TASKS, retasked)) if touched])
    if changed:
        with whole(PARAMS) as temporary:
            yaml.dump(params, temporary)
    if retasked:
        write_tasks(tasks, TASKS)


def read_preset(yaml: YAML, name: str) -> MutableMapping[str, Any]:
    """The differences that presets/<name>.yaml holds; a `UserError` for a key that params.yaml has not."""
    path = PRESETS / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in PRESETS.glob("*.yaml")))
        raise UserError(f"{path} does not exist; there are the presets {known or '(none)'}.")
    tree = _load(yaml, path)
    refuse_unknown(
        {key: value for key, value in tree.items() if key != "tasks"}, str(path), "mend the preset"
    )
    return tree


def overlay(tree: MutableMapping[str, Any], differences: Mapping[str, Any]) -> None:
    """Write the leaves of `differences` over those of `tree`, in place."""
    for key, value in differences.items():
        if isinstance(value, Mapping):
            overlay(tree[key], value)
        else:
            tree[key] = value


def deal(categories: list[str], count: int) -> dict[str, Task]:
    """The categories, in their order, as `count` tasks of equal size (the first ones are larger by one if need be)."""
    if not isinstance(count, int) or not 1 <= count <= len(categories):
        raise UserError(
            f"tasks = {count!r} must be a whole number from 1 to {len(categories)}, the categories."
        )
    small, larger = divmod(len(categories), count)
    tasks: dict[str, Task] = {}
    start = 0
    for number in range(1, count + 1):
        end = start + small + (number <= larger)
        tasks[f"t{number:02d}"] = Task.numbered(number, categories[start:end])
        start = end
    return tasks


def refuse_uncommitted(paths: list[Path]) -> None:
    """Raise a `UserError` if git sees edits in a file that is about to be written."""
    for path in paths:
        status = subprocess.run(
            ["git", "status", "--porcelain", "--", str(path)], capture_output=True, text=True, check=False
        )
        if status.returncode or status.stdout:
            raise UserError(
                f"{path} has uncommitted edits, which a preset would overwrite: commit them, or drop them with "
                f"`git checkout {path}`."
            )


def _load(yaml: YAML, path: Path) -> Any:
    try:
        return yaml.load(path)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: run from the project's root.") from None
    except YAMLError as error:
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}.") from None
