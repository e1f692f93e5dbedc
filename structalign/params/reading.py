"""Read sections of params.yaml for a stage.

A stage reads only the sections that dvc.yaml declares for it, so that DVC re-runs it for no other. An unknown key is an
error.
"""

from functools import partial
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from structalign.errors import UserError
from structalign.params.section import Section, in_words, leaves, refuse_former, requoted, shown, to_write, typed
from structalign.strict_yaml import load_yaml

PARAMS = Path("params.yaml")

M = TypeVar("M")


def read(key: str, kind: type[M], path: Path = PARAMS) -> M:
    """The section or value at a dotted `key` of params.yaml, typed as `kind`: `read("optim.first", Phase)`."""
    tree = value = load_yaml(path)
    for part in key.split("."):
        value = value.get(part, {}) if isinstance(value, dict) else {}
    if value == {} and isinstance(tree, dict):
        present = dict(leaves(tree))
        for name in present:
            refuse_former(name, str(path), present)
    if issubclass(kind, Section):
        return typed(kind, value, str(path), key)
    adapter = TypeAdapter(kind)
    check = partial(adapter.validate_python, strict=True)
    try:
        return check(value)
    except ValidationError:
        allowed = in_words(adapter.json_schema())
        way = requoted(value, allowed) or to_write(key, str(path), key, check)
        raise UserError(f"{path}: `{key}` = {shown(value)} must be {allowed}{way}.") from None
