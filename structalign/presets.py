"""Presets: files of presets/ that hold only what differs from params.yaml, in its shape.

A preset may say `presets: [paper]`, those that it stands on, and `tasks: 10`: how many tasks the categories of
tasks.yaml are split into, in their order.
"""

from collections.abc import Callable, Iterator, MutableMapping
from pathlib import Path
from typing import Any

from structalign.errors import UserError
from structalign.params.reading import PARAMS
from structalign.params.schema import refuse_unknown
from structalign.params.section import written
from structalign.strict_yaml import load_yaml

PRESETS = Path("presets")

Reader = Callable[[Path], Any]


def read_layers(
    name: str, reader: Reader = load_yaml, above: tuple[str, ...] = ()
) -> Iterator[MutableMapping[str, Any]]:
    """The differences of the presets that `name` stands on, in order, then its own; `reader` gives a file's tree."""
    if name in above:
        raise UserError(f"{PRESETS / name}.yaml stands on itself ({' -> '.join([*above, name])}): mend its `presets`.")
    differences = read_preset(name, reader)
    for base in differences.pop("presets", []):
        yield from read_layers(base, reader, (*above, name))
    yield differences


def read_preset(name: str, reader: Reader = load_yaml) -> MutableMapping[str, Any]:
    """The differences that presets/<name>.yaml holds; a `UserError` if there are none, or a key is unknown."""
    path = PRESETS / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in PRESETS.glob("*.yaml")))
        raise UserError(f"{path} does not exist; there are the presets {known or '(none)'}.")
    tree = reader(path)
    if not isinstance(tree, MutableMapping):
        raise UserError(f"{path} holds no parameters: write those that differ from {PARAMS}, or delete the file.")
    parameters = {key: value for key, value in tree.items() if key not in ("presets", "tasks")}
    refuse_unknown(parameters, str(path))
    if not isinstance(tree.get("presets", []), list):
        raise UserError(f"{path}: `presets` = {tree['presets']} must be a list, as [paper]; mend the preset.")
    tasks = tree.get("tasks", 1)
    if not isinstance(tasks, int) or isinstance(tasks, bool):
        raise UserError(f"{path}: `tasks` = {written(tasks)} must be a whole number at least 1; mend the preset.")
    return tree
