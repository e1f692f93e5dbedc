"""`structalign preset NAME...`: write presets into params.yaml, and split the categories into their tasks."""

import subprocess
from pathlib import Path
from typing import Annotated

import typer

from structalign.cli.editing import dump_with_comments, load_with_comments
from structalign.console import say
from structalign.data.tasks import TASKS, category_ids, read_tasks, split_categories, write_tasks
from structalign.errors import UserError
from structalign.params.reading import PARAMS
from structalign.params.schema import overlay, refuse_too_many, validate
from structalign.params.section import leaves, written
from structalign.presets import read_layers

app = typer.Typer(add_completion=False)


@app.command()
def preset(
    names: Annotated[list[str], typer.Argument(help="Names of files in presets/, without .yaml. Later presets win.")],
    diff: Annotated[bool, typer.Option("--diff", help="Show the changes without making them.")] = False,
) -> None:
    """Write presets into params.yaml. Comments stay, and uncommitted edits are never overwritten."""
    params, tasks = load_with_comments(PARAMS), read_tasks()
    validate(params)
    before, tasks_before = dict(leaves(params)), tasks
    categories = list(category_ids(tasks))
    for differences in (layer for name in names for layer in read_layers(name, load_with_comments)):
        if "tasks" in differences:
            tasks = split_categories(categories, differences.pop("tasks"))
        overlay(params, differences)
    way_out = "for your own videos choose a preset without a number of tasks, for example `msrvtt`"
    refuse_too_many(validate(params), len(categories), f"preset {' '.join(names)}", way_out)

    changes = [f"{key}: {written(before[key])} -> {written(new)}" for key, new in leaves(params) if new != before[key]]
    split = [f"tasks: {len(tasks_before)} -> {len(tasks)}"] if tasks != tasks_before else []
    say("\n".join(changes + split) or "nothing differs")
    if diff:
        return
    for path in [PARAMS] * bool(changes) + [TASKS] * bool(split):
        refuse_uncommitted(path)
    if changes:
        dump_with_comments(params, PARAMS)
    if split:
        write_tasks(tasks)


def refuse_uncommitted(path: Path) -> None:
    """Raise a `UserError` if a file that is about to be written has uncommitted edits."""
    command = ["git", "status", "--porcelain", "--", str(path)]
    status = subprocess.run(command, capture_output=True, text=True, check=False)
    if status.returncode or status.stdout:
        raise UserError(
            f"{path} has uncommitted edits, which would be overwritten: commit them, or drop them with "
            f"`git checkout {path}`."
        )
