"""A section of params.yaml as a typed model, and the sentences that refuse a wrong one."""

import difflib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo

from structalign.errors import UserError
from structalign.params import former


class Section(BaseModel):
    """Base of every section: unknown keys, NaN, infinity and a text for a number are refused, values are read-only.

    A key that came after the first version has a default, the value with which older versions worked: `structalign
    migrate` adds it to an older params.yaml, and code that makes a section need not name it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=True)


S = TypeVar("S", bound=Section)


@dataclass(frozen=True)
class Key:
    """What is known of one dotted key of params.yaml."""

    meaning: str
    paper: str
    allowed: str  # "a number, at least 0"
    default: Any  # with which older versions worked, that lacked the key; None of a key that they had


def keys_of(model: type[Section], prefix: str = "") -> dict[str, Key]:
    """Every dotted key of a section, below `prefix`, in its order."""
    found: dict[str, Key] = {}
    properties = model.model_json_schema()["properties"]
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, Section):
            found |= keys_of(inner, f"{prefix}{name}.")
        else:
            default = None if field.is_required() else field.default
            found[prefix + name] = Key(field.description or "", _paper(field), in_words(properties[name]), default)
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


def put_back(source: str) -> str:
    """The way out of a wrong file that git knows."""
    return f"`git checkout {source}` puts the file back"


def refuse_former(key: str, source: str) -> None:
    """Raise a `UserError` if a dotted key is one of an older version: it names what became of it."""
    if became := former.explain(key):
        raise UserError(f"{source}: {became}; `structalign migrate` rewrites the file.")


def refuse_unknown_keys(tree: Mapping[Any, Any], known: Mapping[str, Key], source: str, way_out: str) -> None:
    """Raise a `UserError` if the tree holds a key that is not known: it names the nearest, or the newer one."""
    for key, value in leaves(tree):
        if key in known:
            continue
        refuse_former(key, source)
        inner = [name for name in known if name.startswith(f"{key}.")]
        if inner:
            raise UserError(f"{source}: `{key}` = {written(value)} must hold the keys {', '.join(inner)}; {way_out}.")
        near = difflib.get_close_matches(key, [*known], n=1, cutoff=0.0)
        raise UserError(f"{source}: `{key}` is not a parameter; the nearest is `{near[0]}`; {way_out}.")


def typed(kind: type[S], tree: Any, source: str, place: str = "") -> S:
    """The values at a dotted `place` of a file as a section; one `UserError` for the first that is unknown, missing or
    impossible."""
    way_out, prefix = put_back(source), f"{place}." if place else ""
    known = keys_of(kind, prefix)
    if not place and not isinstance(tree, Mapping):
        raise UserError(f"{source} holds no parameters; {way_out}.")
    given: dict[str, Any] = {}
    if tree != {}:
        refuse_unknown_keys(_at(place, tree), known, source, way_out)
        given = dict(leaves(tree, prefix))
    for key, about in known.items():
        if key not in given:
            way = "`structalign migrate` adds it" if about.default is not None else way_out
            raise UserError(f"{source} lacks `{key}` ({about.allowed}: {about.meaning}); {way}.")
    try:
        return kind.model_validate(tree)
    except ValidationError as error:
        where = prefix + ".".join(map(str, error.errors()[0]["loc"]))  # of a union, pydantic adds the kind that failed
        key = next(key for key in given if f"{where}.".startswith(f"{key}."))
        raise UserError(f"{source}: `{key}` = {written(given[key])} must be {known[key].allowed}; {way_out}.") from None


def _at(place: str, tree: Any) -> Mapping[Any, Any]:
    """The tree below the keys of a dotted place."""
    for part in reversed(place.split(".") if place else []):
        tree = {part: tree}
    whole: Mapping[Any, Any] = tree
    return whole
