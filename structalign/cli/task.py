"""`structalign task add`: add new categories as one more task."""

import typer

from structalign.console import say
from structalign.data.captions import read_table
from structalign.data.tasks import TASKS, Task, category_ids, key, read_tasks, write_tasks
from structalign.errors import UserError
from structalign.paths import DATA

app = typer.Typer(no_args_is_help=True, add_completion=False)


@app.callback()
def task() -> None:
    """Append a task with new categories."""


@app.command()
def add(names: list[str] = typer.Argument(help="The new categories, named as in captions.csv.")) -> None:
    """Append a task to tasks.yaml. `dvc repro` then trains only this task, starting from the tasks before it."""
    tasks = read_tasks()
    there = category_ids(tasks)
    for name in names:
        if name in there or names.count(name) > 1:
            raise UserError(
                f"{TASKS}: category `{name}` is named twice, here or in an earlier task: name each new category once."
            )
        if name != name.strip() or not name or "${" in name:
            raise UserError(f"{name!r} can't be a category: remove spaces around it, and write it without `${{`.")
    table = DATA / "captions.csv"
    listed = {row.category for row in read_table(DATA)[0]} if table.exists() else set(names)
    number = len(tasks) + 1
    write_tasks(tasks | {key(number): Task.numbered(number, names)})
    say(f"{TASKS}: {key(number)} = {', '.join(names)}")
    for name in names:
        if name not in listed:
            say(f"{table} has no row of category `{name}` yet: add its videos and captions.")
