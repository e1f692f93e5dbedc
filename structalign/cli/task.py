"""`structalign task add`: new categories arrive as one more task."""

import typer

from structalign.console import say
from structalign.data.captions import read_table
from structalign.data.tasks import TASKS, Task, category_ids, key, read_tasks, write_tasks
from structalign.errors import UserError
from structalign.paths import DATA

app = typer.Typer(no_args_is_help=True, add_completion=False)


@app.callback()
def task() -> None:
    """Append a task."""


@app.command()
def add(names: list[str] = typer.Argument(help="The new categories, as captions.csv names them.")) -> None:
    """Append a row to tasks.yaml; `dvc repro` then learns this task alone, on top of the ones before."""
    tasks = read_tasks()
    there = category_ids(tasks)
    for name in names:
        if name in there or names.count(name) > 1:
            raise UserError(f"{TASKS}: category `{name}` is named twice: a category arrives once.")
        if name != name.strip() or not name or "${" in name:
            raise UserError(f"{name!r} can't be a category: write it without blanks around it and without `${{`.")
    table = DATA / "captions.csv"
    listed = {row.category for row in read_table(DATA)[0]} if table.exists() else set(names)
    number = len(tasks) + 1
    write_tasks(tasks | {key(number): Task.numbered(number, names)})
    say(f"{TASKS}: {key(number)} = {', '.join(names)}")
    for name in names:
        if name not in listed:
            say(f"{table} has no row of `{name}` yet: add its videos and captions.")
