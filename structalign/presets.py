"""Presets: files in presets/ with only the values that differ from params.yaml, in the same structure.

`presets: [paper]` in a preset names presets that it extends. `tasks: 10` splits the categories of tasks.yaml into that
number of tasks, in their order.
"""

from collections.abc import Callable, Iterator, MutableMapping
from pathlib import Path
from typing import Any

from structalign.errors import UserError
from structalign.params.reading import PARAMS
from structalign.params.schema import refuse_unknown
from structalign.params.section import shown
from structalign.strict_yaml import load_yaml

PRESETS = Path("presets")

Reader = Callable[[Path], Any]


def read_layers(
    name: str, reader: Reader = load_yaml, above: tuple[str, ...] = ()
) -> Iterator[MutableMapping[str, Any]]:
    """The differences of the presets that `name` extends, in order, then its own. `reader` reads a file's tree."""
    if name in above:
        raise UserError(f"{PRESETS / name}.yaml extends itself ({' -> '.join([*above, name])}): correct its `presets`.")
    differences = read_preset(name, reader)
    for base in differences.pop("presets", []):
        yield from read_layers(base, reader, (*above, name))
    yield differences


def read_preset(name: str, reader: Reader = load_yaml) -> MutableMapping[str, Any]:
    """The differences in presets/<name>.yaml. Raises `UserError` if there are none, or for an unknown key."""
    path = PRESETS / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in PRESETS.glob("*.yaml")))
        raise UserError(f"{path} does not exist: choose one of the presets {known or '(none)'}.")
    tree = reader(path)
    if not isinstance(tree, MutableMapping):
        raise UserError(f"{path} has no parameters: write those that differ from {PARAMS}, or delete the file.")
    parameters = {key: value for key, value in tree.items() if key not in ("presets", "tasks")}
    refuse_unknown(parameters, str(path))
    if not isinstance(tree.get("presets", []), list):
        raise UserError(f"{path}: `presets` = {shown(tree['presets'])} must be a list: write, for example, [paper].")
    tasks = tree.get("tasks", 1)
    if not isinstance(tasks, int) or isinstance(tasks, bool):
        raise UserError(f"{path}: `tasks` = {shown(tasks)} must be a whole number at least 1: correct the preset.")
    return tree
