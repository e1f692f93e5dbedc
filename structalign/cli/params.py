"""`structalign params`: each key with its value, its meaning, the paper's value and the first stage it re-runs."""

import difflib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from structalign.data.tasks import Task, read_tasks
from structalign.errors import UserError
from structalign.params.losses import sections
from structalign.params.reading import PARAMS
from structalign.params.schema import keys, validate
from structalign.params.section import leaves, written
from structalign.paths import LOSSES
from structalign.strict_yaml import load_yaml

app = typer.Typer(add_completion=False)


@app.command()
def params(
    prefix: Annotated[str, typer.Argument(help="Only keys that begin with this, for example `crp`.")] = "",
) -> None:
    """Explain every parameter in params.yaml."""
    from rich.table import Table

    from structalign.report.terminal import terminal

    tree = load_yaml(PARAMS)
    validate(tree)
    values = dict(leaves(tree))
    shown = [key for key in keys() if key.startswith(prefix)]
    if not shown:
        near = difflib.get_close_matches(prefix, [*values, *tree], n=1, cutoff=0.0)
        raise UserError(f"{PARAMS} has no key that begins with `{prefix}`; the nearest is `{near[0]}`.")
    pipeline, tasks = load_yaml(Path("dvc.yaml")), read_tasks()
    table = Table("key", "value", "meaning", "paper", "re-runs", box=None, pad_edge=False, header_style="bold")
    for key in shown:
        about = keys()[key]
        table.add_row(key, written(values[key]), about.meaning, about.paper, first_stage(key, pipeline, tasks))
    terminal().print(table)


def first_stage(key: str, pipeline: Mapping[str, Any], tasks: Mapping[str, Task]) -> str:
    """The first stage that a change of this key re-runs: "train", "train (task 2 on)" or "none"."""
    for name, stage in pipeline["stages"].items():
        listed = zip(params_of(stage, tasks), losses_of(stage, tasks), strict=True)
        acting = [_acts(key, params | losses) for params, losses in listed]
        if any(acting):
            return f"{name} (task {acting.index(True) + 1} on)" if acting.index(True) else str(name)
    return "none"


def params_of(stage: Mapping[str, Any], tasks: Mapping[str, Task]) -> Iterator[set[str]]:
    """The parameters that a stage of dvc.yaml declares, once per task for a `foreach` stage."""
    rows = [task.model_dump() for task in tasks.values()] if "foreach" in stage else [{}]
    for row in rows:
        listed = set(stage.get("do", stage).get("params", []))
        for name, value in row.items():
            listed = {entry.replace(f"${{item.{name}}}", str(value)) for entry in listed}
        yield listed


def losses_of(stage: Mapping[str, Any], tasks: Mapping[str, Task]) -> Iterator[set[str]]:
    """The loss sections that a stage depends on through the files of `check`. Same form as `params_of`."""
    files = [str(LOSSES / f"{task}.json") for task in tasks]
    for task in tasks if "foreach" in stage else [""]:
        deps = {dep.replace("${key}", task) for dep in stage.get("do", stage).get("deps", [])}
        numbers = [number for number, file in enumerate(files, start=1) if file in deps]
        yield {name for name, kind in sections().items() if any(kind.since <= number for number in numbers)}


def _acts(key: str, listed: set[str]) -> bool:
    return any(key == entry or key.startswith(f"{entry}.") for entry in listed)
