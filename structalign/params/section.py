"""A section of params.yaml as a typed model, and the sentences that refuse a wrong one."""

import difflib
import json
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo

from structalign.errors import UserError
from structalign.params import former
from structalign.params.committed import committed_bytes
from structalign.strict_yaml import parse_yaml


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
    choices: tuple[str, ...]  # the texts that are allowed; none where any is, or a number
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
            about = properties[name]
            choices = tuple(map(str, about.get("enum", ())))
            found[prefix + name] = Key(field.description or "", _paper(field), in_words(about), choices, default)
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


def committed(source: str, place: str, check: Callable[[Any], object]) -> dict[str, Any]:
    """The leaves at a dotted `place` as git's last commit has them in the file `source`; none where it has no such
    file, or what `check` refuses with a ValidationError."""
    content = committed_bytes(Path(source))
    try:
        tree = parse_yaml(content, source) if content is not None else {}
        for part in place.split(".") if place else []:
            tree = tree[part]
        check(tree)
    except (UserError, ValidationError, KeyError, TypeError):
        return {}
    return dict(leaves({place: tree} if place else tree))


def to_write(key: str, source: str, place: str, check: Callable[[Any], object]) -> str:
    """What to write at a key, after "must be ...": the value of the last commit, if there is one."""
    before = committed(source, place, check)
    return f"; the last commit has {written(before[key])}" if key in before else ""


def refuse_former(key: str, source: str, present: Collection[str]) -> None:
    """Raise a `UserError` if a dotted key is one of an older version: it names what became of it.

    present: all keys of the file.
    """
    if names := former.both(key, present):
        raise UserError(f"{source} {both_names(*names)}.")
    if became := former.explain(key):
        raise UserError(f"{source}: {became}; `structalign migrate` rewrites the file.")


def both_names(old: str, new: str) -> str:
    """A file has a key under its former and its present name."""
    return f"has both `{old}` and `{new}`, which is its name now: remove `{old}`"


def refuse_unknown_keys(given: Mapping[str, Any], known: Mapping[str, Key], source: str) -> None:
    """Raise a `UserError` if a dotted key is not known: it names the nearest, or the newer one."""
    for key, value in given.items():
        if key in known:
            continue
        refuse_former(key, source, given)
        inner = [name for name in known if name.startswith(f"{key}.")]
        if inner:
            raise UserError(f"{source}: `{key}` = {written(value)} must hold the keys {', '.join(inner)}: write them.")
        near = difflib.get_close_matches(key, [*known], n=1, cutoff=0.0)
        raise UserError(f"{source}: `{key}` is not a parameter; the nearest is `{near[0]}`: rename or remove it.")


def typed(kind: type[S], tree: Any, source: str, place: str = "") -> S:
    """The values at a dotted `place` of a file as a section; one `UserError` for the first that is unknown, missing or
    impossible."""
    known = keys_of(kind, f"{place}." if place else "")
    if not place and not isinstance(tree, Mapping):
        raise UserError(f"{source} holds no parameters: `git checkout {source}` puts the file back.")
    given = dict(leaves({place: tree} if place else tree)) if tree != {} else {}
    refuse_unknown_keys(given, known, source)
    for key, about in known.items():
        if key not in given:
            value = to_write(key, source, place, kind.model_validate)
            way = "; `structalign migrate` adds it" if about.default is not None else value or ": write it"
            raise UserError(f"{source} lacks `{key}` ({about.allowed}: {about.meaning}){way}.")
    try:
        return kind.model_validate(tree)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(
            map(str, ([place] if place else []) + [*first["loc"]])
        )  # of a union, also the kind that failed
        key = next(key for key in given if f"{where}.".startswith(f"{key}."))
        if first["type"] == "extra_forbidden":
            section, name = key.rsplit(".", 1)
            raise UserError(f"{source}: `{key}` is one key with a dot: write `{name}` below `{section}:`.") from None
        value, about = given[key], known[key]
        near = difflib.get_close_matches(value, about.choices, n=1) if isinstance(value, str) else []
        way = f"; the nearest is `{near[0]}`" if near else to_write(key, source, place, kind.model_validate)
        raise UserError(f"{source}: `{key}` = {written(value)} must be {about.allowed}{way}.") from None
