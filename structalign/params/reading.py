"""A section of params.yaml becomes a typed model, strictly.

One section is one model is one unit of invalidation: a stage reads only the sections that dvc.yaml
declares for it, and an unknown key is an error, never ignored.
"""

from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from structalign.strict_yaml import load_yaml

PARAMS = Path("params.yaml")


class Section(BaseModel):
    """Base of every section: unknown keys, NaN, infinity and a text for a number are refused, values are read-only."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=True)


M = TypeVar("M")


def read(key: str, kind: type[M], path: Path = PARAMS) -> M:
    """The section or value at a dotted `key` of params.yaml as a `kind` (`read("optim.first", Phase)`)."""
    tree = value = load_yaml(path)
    try:
        for part in key.split("."):
            value = value[part]
        return TypeAdapter(kind).validate_python(value, strict=True)
    except (ValidationError, KeyError, TypeError):
        refuse(tree, path)


def refuse(tree: Any, path: Path) -> NoReturn:
    """Raise the `UserError` that `check` raises for the tree of a wrong params.yaml.

    The words come from all sections, imported by name: they are no part of what a stage computes, nor of its digest.
    """
    import_module("structalign.params.schema").validate(tree, str(path))
    raise AssertionError(f"{path} is valid, and yet a stage could not read it")
