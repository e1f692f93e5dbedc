"""A section of params.yaml as a typed model, and its error messages."""

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
from structalign.strict_yaml import needs_quotes, parse_yaml
from structalign.text import shortened


class Section(BaseModel):
    """Base of all sections: refuses unknown keys, NaN, infinity and texts for numbers. Values are read-only.

    A key that older versions lacked has a default with their behaviour. `structalign migrate` adds it to an older
    params.yaml, and code that makes a section may leave it out.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=True)


S = TypeVar("S", bound=Section)


@dataclass(frozen=True)
class Key:
    """The description of one dotted key of params.yaml."""

    meaning: str
    paper: str
    allowed: str  # "a number, at least 0"
    choices: tuple[str, ...]  # the allowed texts; empty if any text or a number is allowed
    default: Any  # the behaviour of older versions, if they lacked the key; else None


def keys_of(model: type[Section], prefix: str = "") -> dict[str, Key]:
    """All dotted keys of a section with `prefix`, in order."""
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
    """The values that a JSON schema allows: "a whole number at least 1", "bf16 or fp32"."""
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
    """A value as written in params.yaml: null, false, 0.5, bf16, "7"."""
    if isinstance(value, str) and not needs_quotes(value):
        return value
    return json.dumps(value, default=str, ensure_ascii=False)


def shown(value: Any) -> str:
    """A value as written in params.yaml, shortened for a message."""
    return shortened(written(value))


def requoted(value: Any, allowed: str) -> str:
    """The remedy after "must be ...", if the quotes around the value are wrong or missing."""
    if not isinstance(value, str):
        return f": write {json.dumps(written(value))}" if allowed == "a text" else ""
    try:
        plain = parse_yaml(value, "")
    except UserError:
        return ""
    return ": remove the quotes" if isinstance(plain, int | float) else ""


def leaves(tree: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of a nested mapping as (dotted key, value) pairs."""
    for name, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def committed(source: str, place: str, check: Callable[[Any], object]) -> dict[str, Any]:
    """The leaves at a dotted `place` of the file `source` in git's last commit.

    Empty if the commit lacks the file, or if `check` refuses its content with a ValidationError.
    """
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
    """The remedy after "must be ...": the value of the last commit, if there is one."""
    before = committed(source, place, check)
    return f"; the last commit has {shown(before[key])}" if key in before else ""


def refuse_former(key: str, source: str, present: Collection[str]) -> None:
    """Raise a `UserError` for a dotted key of an older version, which says what to do.

    present: all keys of the file.
    """
    if names := former.both(key, present):
        raise UserError(f"{source} {both_names(*names)}.")
    if became := former.explain(key):
        raise UserError(f"{source}: {became}. Run `structalign migrate`, which updates the file.")


def both_names(old: str, new: str) -> str:
    """The message for a file that has a key under its old and its new name."""
    return f"has both `{old}` and its new name `{new}`: remove `{old}`"


def refuse_unknown_keys(given: Mapping[str, Any], known: Mapping[str, Key], source: str) -> None:
    """Raise a `UserError` for an unknown dotted key. It names the nearest or the renamed key."""
    for key, value in given.items():
        if key in known:
            continue
        refuse_former(key, source, given)
        inner = [name for name in known if name.startswith(f"{key}.")]
        if inner:
            raise UserError(f"{source}: `{key}` = {shown(value)} must have the keys {', '.join(inner)}: write them.")
        near = difflib.get_close_matches(key, [*known], n=1, cutoff=0.0)
        raise UserError(
            f"{source}: `{shortened(key)}` is not a parameter: rename it (the nearest is `{near[0]}`), or remove it."
        )


def typed(kind: type[S], tree: Any, source: str, place: str = "") -> S:
    """The values at a dotted `place` of a file, as a section.

    Raises `UserError` for the first value that is unknown, missing or invalid.
    """
    known = keys_of(kind, f"{place}." if place else "")
    if not place and not isinstance(tree, Mapping):
        raise UserError(f"{source} has no parameters: restore it with `git checkout {source}`.")
    given = dict(leaves({place: tree} if place else tree)) if tree != {} else {}
    refuse_unknown_keys(given, known, source)
    for key, about in known.items():
        if key not in given:
            value = to_write(key, source, place, kind.model_validate)
            way = ": run `structalign migrate`, which adds it" if about.default is not None else value or ": write it"
            raise UserError(f"{source} lacks `{key}` ({about.allowed}: {about.meaning}){way}.")
    try:
        return kind.model_validate(tree)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, ([place] if place else []) + [*first["loc"]]))  # for a union, also the failed kind
        key = next(key for key in given if f"{where}.".startswith(f"{key}."))
        if first["type"] == "extra_forbidden":
            section, name = key.rsplit(".", 1)
            raise UserError(
                f"{source}: `{key}` is a single key with a dot: write `{name}` below `{section}:`."
            ) from None
        value, about = given[key], known[key]
        near = difflib.get_close_matches(value, about.choices, n=1) if isinstance(value, str) else []
        way = f"; the nearest is `{near[0]}`" if near else requoted(value, about.allowed)
        way = way or to_write(key, source, place, kind.model_validate)
        raise UserError(f"{source}: `{key}` = {shown(value)} must be {about.allowed}{way}.") from None
