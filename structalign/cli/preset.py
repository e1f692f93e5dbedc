"""`structalign preset NAME...`: overlay differences on params.yaml, and deal the categories into other tasks.

A preset is a file of presets/ that holds only what differs, in the shape of params.yaml. It may say
`presets: [paper]`, those that it stands on, and `tasks: 10`: how many tasks the categories of tasks.yaml
are dealt into, in their order.
"""

import subprocess
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Annotated, Any

import typer

from structalign.cli.editing import dump_with_comments, load_with_comments
from structalign.data.tasks import TASKS, category_ids, deal, read_tasks, write_tasks
from structalign.errors import UserError
from structalign.params import PARAMS
from structalign.sections.all import leaves, overlay, refuse_too_many, refuse_unknown, validate, written

PRESETS = Path("presets")

app = typer.Typer(add_completion=False)


@app.command()
def preset(
    names: Annotated[list[str], typer.Argument(help="Files of presets/ without .yaml; a later one wins.")],
    diff: Annotated[bool, typer.Option("--diff", help="Show what would change, and change nothing.")] = False,
) -> None:
    """Overlay presets on params.yaml; comments stay, uncommitted edits are never overwritten."""
    params, tasks = load_with_comments(PARAMS), read_tasks()
    validate(params)
    before, tasks_before = dict(leaves(params)), tasks
    categories = list(category_ids(tasks))
    for differences in (layer for name in names for layer in read_layers(name)):
        if "tasks" in differences:
            tasks = deal(categories, differences.pop("tasks"))
        overlay(params, differences)
    way_out = "for videos of your own take a preset that leaves it, as `msrvtt` does"
    refuse_too_many(validate(params), len(categories), f"preset {' '.join(names)}", way_out)

    changes = [f"{key}: {written(before[key])} -> {written(new)}" for key, new in leaves(params) if new != before[key]]
    dealt = [f"tasks: {len(tasks_before)} -> {len(tasks)}"] if tasks != tasks_before else []
    typer.echo("\n".join(changes + dealt) or "nothing differs")
    if diff:
        return
    for path in [PARAMS] * bool(changes) + [TASKS] * bool(dealt):
        refuse_uncommitted(path)
    if changes:
        dump_with_comments(params, PARAMS)
    if dealt:
        write_tasks(tasks)


def read_layers(name: str, above: tuple[str, ...] = ()) -> Iterator[MutableMapping[str, Any]]:
    """The differences of the presets that `name` stands on, in order, then its own."""
    if name in above:
        raise UserError(f"{PRESETS / name}.yaml stands on itself ({' -> '.join([*above, name])}): mend its `presets`.")
    differences = read_preset(name)
    for base in differences.pop("presets", []):
        yield from read_layers(base, (*above, name))
    yield differences


def read_preset(name: str) -> MutableMapping[str, Any]:
    """The differences that presets/<name>.yaml holds; a `UserError` if there are none, or a key is unknown."""
    path = PRESETS / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in PRESETS.glob("*.yaml")))
        raise UserError(f"{path} does not exist; there are the presets {known or '(none)'}.")
    tree = load_with_comments(path)
    if not isinstance(tree, MutableMapping):
        raise UserError(f"{path} holds no parameters: write those that differ from {PARAMS}, or delete the file.")
    parameters = {key: value for key, value in tree.items() if key not in ("presets", "tasks")}
    refuse_unknown(parameters, str(path), "mend the preset")
    if not isinstance(tree.get("presets", []), list):
        raise UserError(f"{path}: `presets` = {tree['presets']} must be a list, as [paper]; mend the preset.")
    tasks = tree.get("tasks", 1)
    if not isinstance(tasks, int) or isinstance(tasks, bool):
        raise UserError(f"{path}: `tasks` = {written(tasks)} must be a whole number at least 1; mend the preset.")
    return tree


def refuse_uncommitted(path: Path) -> None:
    """Raise a `UserError` if git sees edits in a file that is about to be written."""
    command = ["git", "status", "--porcelain", "--", str(path)]
    status = subprocess.run(command, capture_output=True, text=True, check=False)
    if status.returncode or status.stdout:
        raise UserError(
            f"{path} has uncommitted edits, which a preset would overwrite: commit them, or drop them with "
            f"`git checkout {path}`."
        )
