"""A stage reads its sections of params.yaml, and no other.

One section is one model is one unit of invalidation: a stage reads only what dvc.yaml declares for it, and an unknown
key is an error, never ignored.
"""

from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from structalign.errors import UserError
from structalign.params.section import Section, in_words, leaves, put_back, refuse_former, typed, written
from structalign.strict_yaml import load_yaml

PARAMS = Path("params.yaml")

M = TypeVar("M")


def read(key: str, kind: type[M], path: Path = PARAMS) -> M:
    """The section or value at a dotted `key` of params.yaml as a `kind` (`read("optim.first", Phase)`)."""
    tree = value = load_yaml(path)
    for part in key.split("."):
        value = value.get(part, {}) if isinstance(value, dict) else {}
    if value == {} and isinstance(tree, dict):
        for name, _ in leaves(tree):
            refuse_former(name, str(path))
    if issubclass(kind, Section):
        return typed(kind, value, str(path), key)
    try:
        return TypeAdapter(kind).validate_python(value, strict=True)
    except ValidationError:
        allowed = in_words(TypeAdapter(kind).json_schema())
        raise UserError(f"{path}: `{key}` = {written(value)} must be {allowed}; {put_back(str(path))}.") from None
