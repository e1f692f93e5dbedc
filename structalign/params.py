"""A section of params.yaml becomes a typed model, strictly.

One section is one model is one unit of invalidation: a stage reads only the sections that dvc.yaml
declares for it, and an unknown key is an error, never ignored.
"""

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from structalign.errors import UserError
from structalign.strict_yaml import load_yaml

PARAMS = Path("params.yaml")


class Section(BaseModel):
    """Base of every section: unknown keys, NaN, infinity and a text for a number are refused, values are read-only."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=True)


M = TypeVar("M")


def read(key: str, kind: type[M], path: Path = PARAMS) -> M:
    """The section or value at a dotted `key` of params.yaml as a `kind` (`read("optim.first", Phase)`)."""
    value = load_yaml(path)
    for part in key.split("."):
        if not isinstance(value, dict) or part not in value:
            raise UserError(f"{path} lacks `{key}`: `git checkout {path}` puts the file back.")
        value = value[part]
    try:
        return TypeAdapter(kind).validate_python(value, strict=True)
    except ValidationError as error:
        raise UserError(f"{path}: {explain(key, error)}") from None


def explain(key: str, error: ValidationError) -> str:
    """The first complaint of a validation error as one clause that names the full key."""
    first = error.errors()[0]
    where = ".".join([key, *(str(part) for part in first["loc"])]) if key else ".".join(map(str, first["loc"]))
    reason = first["msg"][0].lower() + first["msg"][1:]
    return f"`{where}` = {first['input']!r}: {reason}."
