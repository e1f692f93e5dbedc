"""Every section of params.yaml in one model, for the check, `structalign params` and `structalign preset`.

A stage imports its own sections and never this module: else a new section would re-run every stage.
"""

import difflib
import json
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

from pydantic import Field, ValidationError
from pydantic.fields import FieldInfo

from structalign.errors import UserError
from structalign.params import former
from structalign.params.adapters import Adapters
from structalign.params.backbone import Backbone
from structalign.params.data import DataParams
from structalign.params.features import FeaturesParams
from structalign.params.frames import FramesParams
from structalign.params.losses import Losses
from structalign.params.method import MethodName
from structalign.params.optim import Phase, Shared
from structalign.params.ranking import Ranking
from structalign.params.reading import Section
from structalign.params.reference import Reference


class Optim(Section):
    shared: Shared
    first: Phase
    later: Phase


class _Before(Section):
    """What stands before the losses."""

    seed: int = Field(ge=0, description="seed of everything random in training")
    method: MethodName
    data: DataParams
    frames: FramesParams
    backbone: Backbone
    features: FeaturesParams
    adapters: Adapters


class _After(Section):
    """What stands after the losses."""

    optim: Optim
    ranking: Ranking
    reference: Reference


class Params(_After, Losses, _Before):
    """The whole of params.yaml, in the file's order: pydantic takes the fields of the last base first."""


@dataclass(frozen=True)
class Key:
    """What is known of one dotted key of params.yaml."""

    meaning: str
    paper: str
    allowed: str  # "a number, at least 0"


def keys(model: type[Section] = Params, prefix: str = "") -> dict[str, Key]:
    """Every dotted key of params.yaml, in the file's order."""
    found: dict[str, Key] = {}
    properties = model.model_json_schema()["properties"]
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, Section):
            found |= keys(inner, f"{prefix}{name}.")
        else:
            found[prefix + name] = Key(field.description or "", _paper(field), in_words(properties[name]))
    return found


def _paper(field: FieldInfo) -> str:
    extra = field.json_schema_extra
    return str(extra.get("paper", "")) if isinstance(extra, dict) else ""


def in_words(schema: Mapping[str, Any]) -> str:
    """The values that a JSON schema admits: "a whole number from 1 to 256", "bf16 or fp32"."""
    if "anyOf" in schema:
        return " or ".join(in_words(option) for option in schema["anyOf"])
    if "const" in schema:
        return str(schema["const"])
    if "enum" in schema:
        *first, last = map(str, schema["enum"])
        return f"{', '.join(first)} or {last}"
    noun = {
        "integer": "a whole number",
        "number": "a finite number",
        "boolean": "true or false",
        "string": "a text",
    }[schema["type"]]
    bounds = {
        "minimum": "at least {:g}",
        "exclusiveMinimum": "above {:g}",
        "maximum": "at most {:g}",
        "exclusiveMaximum": "below {:g}",
    }
    ranges = [words.format(schema[bound]) for bound, words in bounds.items() if bound in schema]
    return " ".join([noun, " and ".join(ranges)]).strip()


def written(value: Any) -> str:
    """A value as params.yaml shows it: null, false, 0.5."""
    return value if isinstance(value, str) else json.dumps(value, default=str)


def leaves(tree: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The (dotted key, value) pairs of a nested mapping."""
    for name, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def overlay(tree: MutableMapping[str, Any], differences: Mapping[str, Any]) -> None:
    """Write the leaves of `differences` over those of `tree`, in place."""
    for key, value in differences.items():
        if isinstance(value, Mapping):
            overlay(tree[key], value)
        else:
            tree[key] = value


def refuse_unknown(tree: Mapping[Any, Any], source: str, way_out: str) -> None:
    """Raise a `UserError` if the tree holds a key that params.yaml has not: it names the nearest, or the newer one."""
    known = keys()
    for key, value in leaves(tree):
        if key in known:
            continue
        if became := former.explain(key):
            raise UserError(f"{source}: {became}; `structalign migrate` rewrites the file.")
        inner = [name for name in known if name.startswith(f"{key}.")]
        if inner:
            raise UserError(f"{source}: `{key}` = {written(value)} must hold the keys {', '.join(inner)}; {way_out}.")
        near = difflib.get_close_matches(key, [*known], n=1, cutoff=0.0)
        raise UserError(f"{source}: `{key}` is not a parameter; the nearest is `{near[0]}`; {way_out}.")


def validate(tree: Any, source: str = "params.yaml") -> Params:
    """The parameters as typed values; one `UserError` for the first unknown, missing or impossible one."""
    way_out = f"`git checkout {source}` puts the file back"
    if not isinstance(tree, Mapping):
        raise UserError(f"{source} holds no parameters; {way_out}.")
    refuse_unknown(tree, source, way_out)
    given = dict(leaves(tree))
    for key, about in keys().items():
        if key not in given:
            way = "`structalign migrate` adds it" if key in former.NEW else way_out
            raise UserError(f"{source} lacks `{key}` ({about.allowed}: {about.meaning}); {way}.")
    try:
        params = Params.model_validate(tree)
    except ValidationError as error:
        place = ".".join(map(str, error.errors()[0]["loc"]))  # of a union, pydantic adds the kind that failed
        key = next(key for key in given if f"{place}.".startswith(f"{key}."))
        raise UserError(
            f"{source}: `{key}` = {written(given[key])} must be {keys()[key].allowed}; {way_out}."
        ) from None
    if params.etf.vertices == "exact" and params.etf.room > params.etf.dim + 1:
        raise UserError(
            f"{source}: `etf.capacity` = {params.etf.capacity} is more than `etf.dim` + 1 = "
            f"{params.etf.dim + 1}, the most vertices that a simplex in `etf.dim` dimensions has; {way_out}."
        )
    return params


def refuse_too_many(
    params: Params,
    categories: int,
    source: str = "params.yaml",
    way_out: str = "raise it, or `git checkout params.yaml` puts the file back",
) -> None:
    """Raise a `UserError` if the simplex has fewer vertices than there are categories in the task list."""
    if categories > params.etf.room:
        name = "`etf.dim` + 1" if params.etf.capacity == "auto" else "`etf.capacity`"
        raise UserError(
            f"{source}: {name} = {params.etf.room} is less than the {categories} categories of tasks.yaml, "
            f"which need a vertex each; {way_out}."
        )
