"""tasks.yaml: which categories arrive in which task, one row a task, append-only.

DVC makes one lane of stages from each row, so a row also says what DVC cannot compute itself: the task before
(`prev`), and which optimizer section acts (`phase`).
A category's global id, its ETF vertex and its prototype follow the order of this file (method.md §1).
"""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

from structalign.errors import UserError
from structalign.params.section import Section
from structalign.store import whole
from structalign.strict_yaml import dump_yaml, load_yaml
from structalign.text import plural

TASKS = Path("tasks.yaml")
FORMER_COLUMNS = ("crp", "pseudo")  # the sections of those losses in a row; `contrastive` in the first
HEADER = "# One row a task, in the order they arrive; append only: `structalign task add NAME...`.\n"


class Task(Section):
    """One row of tasks.yaml."""

    prev: str
    phase: Literal["first", "later"]
    categories: list[str] = Field(min_length=1)

    @classmethod
    def numbered(cls, number: int, categories: list[str]) -> "Task":
        """The row of task `number`, counted from 1, with its plumbing filled in."""
        return cls(prev=key(number - 1), phase="first" if number == 1 else "later", categories=categories)


def key(number: int) -> str:
    """The key of task `number`, counted from 1: t01, t02, ..."""
    return f"t{number:02d}"


def split_categories(categories: list[str], count: int) -> dict[str, Task]:
    """Deal categories to `count` tasks in their order, as evenly as possible, the larger tasks first."""
    if not 1 <= count <= len(categories):
        held = plural(len(categories), "category", "categories")
        allowed = f"1 to {len(categories)}" if len(categories) > 1 else "1"
        raise UserError(f"{held} can't make {plural(count, 'task')}: choose {allowed}.")
    small, larger = divmod(len(categories), count)
    tasks, begin = {}, 0
    for number in range(1, count + 1):
        end = begin + small + (number <= larger)
        tasks[key(number)] = Task.numbered(number, categories[begin:end])
        begin = end
    return tasks


def read_tasks(path: Path = TASKS) -> dict[str, Task]:
    """Read tasks.yaml; a broken chain, a repeated category or an unknown key is a `UserError`.

    Columns that an older version wrote are ignored, if they hold what it wrote.
    """
    rows = _read_rows(path)
    try:
        tasks = TypeAdapter(dict[str, Task]).validate_python(_without_former_columns(rows, path))
    except ValidationError as error:
        raise UserError(f"{path}: {_complaint(error)}") from None
    _verify(tasks, path)
    return tasks


def _complaint(error: ValidationError) -> str:
    """The first one, as a sentence that names the full key."""
    first = error.errors()[0]
    key = ".".join(map(str, ("tasks", *first["loc"])))
    return f"`{key}` = {first['input']!r}: {first['msg'][0].lower()}{first['msg'][1:]}."


def _read_rows(path: Path) -> Any:
    value = load_yaml(path)
    if not isinstance(value, dict) or list(value) != ["tasks"] or not value["tasks"]:
        raise UserError(f"{path} needs the one key `tasks` with a row a task: `structalign init` writes it.")
    return value["tasks"]


def refuse_no_project(folder: Path) -> None:
    """`UserError` if a folder has no tasks.yaml, and so is no project."""
    if not (folder / TASKS).is_file():
        way = "name a project's folder, or make one with `structalign new DIR`"
        raise UserError(f"{folder / TASKS} does not exist: {way}.")


def has_former_columns(path: Path = TASKS) -> bool:
    """Whether a valid tasks.yaml has columns of an older version."""
    return any(column in row for row in _read_rows(path).values() for column in FORMER_COLUMNS)


def _without_former_columns(rows: Any, path: Path) -> Any:
    if not isinstance(rows, dict) or not all(isinstance(row, dict) for row in rows.values()):
        return rows
    for number, (name, row) in enumerate(rows.items(), start=1):
        for column in FORMER_COLUMNS:
            wrote = "contrastive" if number == 1 else column
            if row.get(column, wrote) != wrote:
                raise UserError(f"{path}: `tasks.{name}.{column}` = {row[column]!r}, it must be {wrote!r} or absent.")
    return {name: {k: v for k, v in row.items() if k not in FORMER_COLUMNS} for name, row in rows.items()}


def _verify(tasks: dict[str, Task], path: Path) -> None:
    """Refuse rows that `Task.numbered` would not have written, and categories that arrive twice."""
    owner: dict[str, str] = {}
    for number, (name, task) in enumerate(tasks.items(), start=1):
        if name != key(number):
            raise UserError(f"{path}: row {number} is called `{name}`, it must be `{key(number)}`.")
        right = Task.numbered(number, task.categories)
        for field in ("prev", "phase"):
            if getattr(task, field) != getattr(right, field):
                is_, must = getattr(task, field), getattr(right, field)
                raise UserError(f"{path}: `tasks.{name}.{field}` = {is_!r}, it must be {must!r}.")
        for category in task.categories:
            if not category.strip() or category != category.strip() or "${" in category:
                raise UserError(f"{path}: `{name}` has the category {category!r}: remove the blanks or `${{`.")
            if category in owner:
                where = f"{owner[category]} and {name}"
                raise UserError(f"{path}: category `{category}` is in {where}: a category arrives once.")
            owner[category] = name


def write_tasks(tasks: dict[str, Task], path: Path = TASKS) -> None:
    """Write tasks.yaml whole."""
    rows = {"tasks": {name: task.model_dump() for name, task in tasks.items()}}
    with whole(path) as temporary:
        temporary.write_text(HEADER + dump_yaml(rows), encoding="utf-8")


def category_ids(tasks: dict[str, Task]) -> dict[str, int]:
    """Every category's global id: its place in the order of the file, from 0."""
    names = [category for task in tasks.values() for category in task.categories]
    return {name: number for number, name in enumerate(names)}
