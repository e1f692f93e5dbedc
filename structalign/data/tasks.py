"""tasks.yaml: the categories of each task, one row per task, append-only.

DVC makes stages from each row. So a row also has what DVC cannot compute: the previous task (`prev`), and the optimizer
section to use (`phase`). The order of this file gives a category's global id, ETF vertex and prototype.
"""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

from structalign.errors import UserError
from structalign.params.section import Section, shown
from structalign.store import whole
from structalign.strict_yaml import dump_yaml, load_yaml
from structalign.text import plural, shortened

TASKS = Path("tasks.yaml")
COLUMNS = {
    "prev": "the task before, t00 in the first row",
    "phase": "first in the first row, later in all others",
    "categories": "a list of at least one category",
}
FORMER_COLUMNS = ("crp", "pseudo")  # former columns: the loss sections of a task, `contrastive` in the first row
HEADER = "# One row per task, in order. Only append rows: `structalign task add NAME...`.\n"


class Task(Section):
    """One row of tasks.yaml."""

    prev: str
    phase: Literal["first", "later"]
    categories: list[str] = Field(min_length=1)

    @classmethod
    def numbered(cls, number: int, categories: list[str]) -> "Task":
        """The row of task `number`, counted from 1, with `prev` and `phase`."""
        return cls(prev=key(number - 1), phase="first" if number == 1 else "later", categories=categories)


def key(number: int) -> str:
    """The key of task `number`, counted from 1: t01, t02, and so on."""
    return f"t{number:02d}"


def split_categories(categories: list[str], count: int) -> dict[str, Task]:
    """Split categories in their order into `count` tasks, as evenly as possible, the larger tasks first."""
    if not 1 <= count <= len(categories):
        held = plural(len(categories), "category", "categories")
        allowed = f"1 to {len(categories)}" if len(categories) > 1 else "1"
        raise UserError(f"{held} can't be split into {plural(count, 'task')}: choose {allowed}.")
    small, larger = divmod(len(categories), count)
    tasks, begin = {}, 0
    for number in range(1, count + 1):
        end = begin + small + (number <= larger)
        tasks[key(number)] = Task.numbered(number, categories[begin:end])
        begin = end
    return tasks


def read_tasks(path: Path = TASKS) -> dict[str, Task]:
    """Read tasks.yaml. Raises `UserError` for a broken chain, a repeated category or an unknown key.

    Columns of an older version are ignored, if their values are unchanged.
    """
    rows = _read_rows(path)
    try:
        tasks = TypeAdapter(dict[str, Task]).validate_python(_without_former_columns(rows, path))
    except ValidationError as error:
        raise UserError(f"{path}: {_complaint(error)}.") from None
    _verify(tasks, path)
    return tasks


def _complaint(error: ValidationError) -> str:
    """The first error with the full key and the remedy."""
    first = error.errors()[0]
    row, *inside = map(str, first["loc"])
    if not inside:
        return f"`tasks.{row}` = {shown(first['input'])} must have the columns {', '.join(COLUMNS)}: write them"
    column, *inside = inside
    if first["type"] == "missing":
        return f"`tasks.{row}` lacks `{column}` ({COLUMNS[column]}): write it"
    if first["type"] == "extra_forbidden":
        return f"`tasks.{row}.{shortened(column)}` is not a column ({', '.join(COLUMNS)} are): remove it"
    value = shown(first["input"])
    if inside:
        return f"`tasks.{row}.{column}.{inside[0]}` = {value} must be a category's name: write it in quotes"
    return f"`tasks.{row}.{column}` = {value} must be {COLUMNS[column]}: correct it"


def _read_rows(path: Path) -> dict[str, Any]:
    value = load_yaml(path)
    rows = value["tasks"] if isinstance(value, dict) and list(value) == ["tasks"] else None
    if not isinstance(rows, dict) or not rows:
        raise UserError(f"{path} must have the single key `tasks` with one row per task: `structalign init` writes it.")
    return rows


def refuse_no_project(folder: Path) -> None:
    """Raise a `UserError` if a folder has no tasks.yaml, so that it is not a project."""
    if not (folder / TASKS).is_file():
        way = "name a project's folder, or make a project with `structalign new DIR`"
        raise UserError(f"{folder / TASKS} does not exist: {way}.")


def has_former_columns(path: Path = TASKS) -> bool:
    """Whether tasks.yaml is valid and has columns of an older version."""
    return any(column in row for row in _read_rows(path).values() for column in FORMER_COLUMNS)


def _without_former_columns(rows: dict[str, Any], path: Path) -> Any:
    if not all(isinstance(row, dict) for row in rows.values()):
        return rows
    for number, (name, row) in enumerate(rows.items(), start=1):
        for column in FORMER_COLUMNS:
            wrote = "contrastive" if number == 1 else column
            if row.get(column, wrote) != wrote:
                value = shown(row[column])
                raise UserError(f"{path}: `tasks.{name}.{column}` = {value} must be {wrote}: correct or remove it.")
    return {name: {k: v for k, v in row.items() if k not in FORMER_COLUMNS} for name, row in rows.items()}


def _verify(tasks: dict[str, Task], path: Path) -> None:
    """Refuse rows that `Task.numbered` would not have written, and repeated categories."""
    owner: dict[str, str] = {}
    for number, (name, task) in enumerate(tasks.items(), start=1):
        if name != key(number):
            raise UserError(f"{path}: row {number} is named `{shortened(name)}`: rename it to `{key(number)}`.")
        right = Task.numbered(number, task.categories)
        for field in ("prev", "phase"):
            if getattr(task, field) != getattr(right, field):
                is_, must = getattr(task, field), getattr(right, field)
                raise UserError(f"{path}: `tasks.{name}.{field}` = {shown(is_)} must be {must}: correct it.")
        for category in task.categories:
            if not category.strip() or category != category.strip() or "${" in category:
                named = shortened(repr(category))
                raise UserError(f"{path}: `{name}` has the category {named}: remove spaces around it, and `${{`.")
            if category in owner:
                first, named = owner[category], shortened(category)
                where = f"is in {first} and {name}" if first != name else f"is twice in {name}"
                raise UserError(f"{path}: category `{named}` {where}: remove it once.")
            owner[category] = name


def write_tasks(tasks: dict[str, Task], path: Path = TASKS) -> None:
    """Write tasks.yaml, completely or not at all."""
    rows = {"tasks": {name: task.model_dump() for name, task in tasks.items()}}
    with whole(path) as temporary:
        temporary.write_text(HEADER + dump_yaml(rows), encoding="utf-8")


def category_ids(tasks: dict[str, Task]) -> dict[str, int]:
    """Each category's global id: its position in the file, from 0."""
    names = [category for task in tasks.values() for category in task.categories]
    return {name: number for number, name in enumerate(names)}
