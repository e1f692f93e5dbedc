"""Write the chosen settings as preset files."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from structalign.store import whole
from structalign.strict_yaml import dump_yaml
from structalign.sweep.rounds import Done


def write(folder: Path, chosen: Iterable[Done]) -> None:
    """Write <folder>/<method>.yaml: the values that differ from params.yaml, in its shape.

    `joint` is not a method, so its file names none.
    """
    for one in chosen:
        method = one.setting.method
        tree: dict[str, Any] = {} if method == "joint" else {"method": {"name": method}}
        for key, value in one.setting.values.items():
            *path, last = key.split(".")
            section = tree
            for part in path:
                section = section.setdefault(part, {})
            section[last] = value
        with whole(folder / f"{method}.yaml") as temporary:
            temporary.write_text(f"# Chosen by `structalign sweep`.\n{dump_yaml(tree)}", encoding="utf-8")
