"""The file of a sweep: the settings of each method, the seeds, and the split that measures them.

    seeds: [0, 1, 2]
    finalists: 2              # settings per method that run at all seeds, or `all`
    split: val                # `val` reads nothing of the test split
    more_seeds: {finetune: [3, 4]}  # optional: further seeds of some methods
    baseline: finetune        # optional: the method that differences are taken to, or a list of methods
    settings:                 # optional: keys of params.yaml for all methods
      optim.shared.batch: 16
    rankings:                 # optional: further rankings of the same runs, each by its keys of `ranking`
      task prior: {ranking.task_prior: 1}

Methods:
      zero_shot:              # as params.yaml has it
      structalign:            # every combination of the lists; `*` matches one name
        optim.*.lr: [1e-3, 2e-3]
        crp.weight: [1, 3, 10]
      joint:                  # all tasks at once; a list of mappings is not combined
        - {optim.first.lr: 1e-3}
        - {optim.first.lr: 2e-3, optim.first.epochs: 20}

docs/operations.md explains the keys.
"""

import difflib
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from structalign.data.tasks import category_ids, read_tasks
from structalign.errors import UserError
from structalign.params.method import METHODS
from structalign.params.reading import PARAMS
from structalign.params.schema import keys, refuse_too_many, refuse_unknown, validate
from structalign.params.section import Section, shown
from structalign.strict_yaml import load_yaml
from structalign.sweep.rows import RESERVED, SENTENCE, row_of

KINDS = (*METHODS, "joint")
UNTRAINED = "zero_shot"  # has no randomness, so it runs at the first seed only
SHARED = ("data", "frames", "backbone", "features")  # sections that all runs have in common
OWN = ("seed", "method", "reference")
NAME = re.compile(r"\w+(?:[ .-]\w+)*")  # of a ranking: it becomes a part of a row's name


class SweepFile(Section):
    """The keys of the file. The settings of its methods are checked later."""

    seeds: list[int] = Field(min_length=1, description="a list of whole numbers, as [0, 1, 2]")
    more_seeds: dict[str, list[int]] | None = Field(
        None, description="methods, each with further seeds, as `finetune: [3, 4]`"
    )
    finalists: int | Literal["all"] = Field("all", description="a whole number of at least 1, or all")
    split: Literal["val", "test"] = Field(description="val or test")
    baseline: str | list[str] | None = Field(
        None, description="methods below `methods`, as `finetune` or [finetune, zero_shot]"
    )
    settings: dict[str, Any] | None = Field(None, description="keys of params.yaml, as `optim.shared.batch: 16`")
    rankings: dict[str, Any] | None = Field(
        None, description="names, each with keys of `ranking`, as `task prior: {ranking.task_prior: 1}`"
    )
    methods: dict[str, Any] = Field(min_length=1, description="methods, each with its settings")


@dataclass(frozen=True, eq=False)
class Setting:
    """A method with one combination of values.

    own: the values as the file has them. values: by whole keys, including those for all methods. sections: the sections
    of params.yaml that a run reads, by name. rankings: further rankings of its runs by name, each a section `ranking`.
    """

    method: str
    own: Mapping[str, Any]
    values: Mapping[str, Any]
    sections: Mapping[str, Any]
    rankings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """A name for files: the method, and a digest of the values."""
        text = json.dumps(self.values, sort_keys=True)
        return f"{self.method}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


@dataclass(frozen=True)
class Plan:
    """A checked file: the settings of each method, in its order.

    rankings: the names of further rankings. more_seeds: further seeds by method.
    """

    seeds: list[int]
    finalists: int | None
    split: str
    baselines: list[str]
    settings: list[Setting]
    rankings: Sequence[str] = ()
    more_seeds: Mapping[str, Sequence[int]] = field(default_factory=dict)

    def seeds_of(self, method: str) -> list[int]:
        """All seeds of a method, the first one first."""
        return [*self.seeds, *self.more_seeds.get(method, ())]


def read_plan(path: Path) -> Plan:
    """The checked plan of a file, for this project's params.yaml and tasks.yaml. Raises `UserError` for a fault."""
    head = _head(load_yaml(path), str(path))
    if len(set(head.seeds)) < len(head.seeds) or min(head.seeds) < 0:
        raise UserError(f"{path}: `seeds` = {shown(head.seeds)} must be different numbers, none below 0.")
    if head.split == "test" and head.finalists != "all":
        raise UserError(f"{path}: `finalists` must be `all` with `split: test`, since the test split chooses nothing.")
    if head.finalists != "all" and head.finalists < 1:
        raise UserError(f"{path}: `finalists` = {head.finalists} must be {_allowed('finalists')}.")
    for name in head.methods:
        if name not in KINDS:
            raise UserError(f"{path}: `methods.{name}` is not a method{_nearest(name, KINDS)}.")
    more_seeds = head.more_seeds or {}
    for name, seeds in more_seeds.items():
        if name not in head.methods:
            raise UserError(f"{path}: `more_seeds.{name}` is not below `methods`: add it there, or remove it.")
        if name == UNTRAINED:
            raise UserError(f"{path}: `more_seeds.{name}` changes nothing, since {name} trains nothing: remove it.")
        if len({*head.seeds, *seeds}) < len([*head.seeds, *seeds]) or min([*seeds, 0]) < 0:
            raise UserError(
                f"{path}: `more_seeds.{name}` = {shown(seeds)} must be numbers of at least 0 that differ from each "
                "other and from `seeds`: remove the others."
            )
    baselines = [head.baseline] if isinstance(head.baseline, str) else head.baseline or []
    rows = [*head.methods, *([row_of(UNTRAINED, SENTENCE)] if UNTRAINED in head.methods else [])]
    for name in baselines:
        if name not in rows:
            raise UserError(f"{path}: `baseline` names {name}, which is not below `methods`: add or remove it.")
    shared = _values(head.settings or {}, f"{path}: `settings`")
    rankings = _rankings(head.rankings or {}, str(path))
    settings = [
        setting
        for name, given in head.methods.items()
        for setting in _settings(str(path), name, given, shared, rankings)
    ]
    finalists = None if head.finalists == "all" else head.finalists
    return Plan(head.seeds, finalists, head.split, list(dict.fromkeys(baselines)), settings, [*rankings], more_seeds)


def _head(tree: Any, source: str) -> SweepFile:
    if not isinstance(tree, dict):
        raise UserError(f"{source} has no sweep: write `seeds`, `split` and `methods`.")
    try:
        return SweepFile.model_validate(tree)
    except ValidationError as error:
        first = min(error.errors(), key=lambda one: one["type"] != "extra_forbidden")  # a misspelt key is also missing
        name = str(first["loc"][0])
        if first["type"] == "extra_forbidden":
            raise UserError(
                f"{source}: `{name}` is not a key of a sweep{_nearest(name, SweepFile.model_fields)}."
            ) from None
        if first["type"] == "missing":
            raise UserError(f"{source} lacks `{name}` ({_allowed(name)}): write it.") from None
        raise UserError(f"{source}: `{name}` = {shown(tree[name])} must be {_allowed(name)}.") from None


def _allowed(name: str) -> str:
    return str(SweepFile.model_fields[name].description)


def _nearest(name: str, known: Any) -> str:
    near = difflib.get_close_matches(name, [*known], n=1, cutoff=0.0)
    return f"; the nearest is `{near[0]}`: rename or remove it"


def _rankings(given: Mapping[str, Any], source: str) -> dict[str, dict[str, Any]]:
    """The values of each further ranking, by whole keys. Raises `UserError` for keys outside `ranking`."""
    found = {}
    for name, own in given.items():
        place = f"{source}: `rankings.{name}`"
        if not NAME.fullmatch(name):
            quoted = json.dumps(name, ensure_ascii=False)
            raise UserError(f"{source}: `rankings` names {quoted}: use letters, digits, spaces, dots and hyphens.")
        if name in RESERVED:
            raise UserError(f"{place} has a name that the tables themselves use: choose another.")
        if not isinstance(own, dict) or not own:
            raise UserError(f"{place} must have keys of `ranking`, as `ranking.task_prior: 1`.")
        found[name] = _values(own, place)
        for key in found[name]:
            if not key.startswith("ranking."):
                raise UserError(
                    f"{place}: `{key}` is not a key of `ranking`, which only weights signals: set it below `methods`."
                )
    return found


def _settings(
    source: str,
    method: str,
    given: Any,
    shared: Mapping[str, Any],
    rankings: Mapping[str, Mapping[str, Any]],
) -> Iterator[Setting]:
    """The settings of a method. Raises `UserError` for a duplicate."""
    place = f"{source}: `methods.{method}`"
    grids = given if isinstance(given, list) else [{} if given is None else given]
    if not grids or not all(isinstance(grid, dict) for grid in grids):
        raise UserError(
            f"{place} must have keys of params.yaml, such as `crp.weight: [1, 3]`, or a list of such mappings."
        )
    seen: dict[str, Mapping[str, Any]] = {}
    for own in (own for grid in grids for own in _combinations(grid, place)):
        values = {**shared, **_values(own, place)}
        sections = _sections(values, place)
        further = {
            name: _sections({**values, **weights}, f"{source}: `rankings.{name}`")["ranking"]
            for name, weights in rankings.items()
        }
        setting = Setting(method, own, values, sections, further)
        if setting.key in seen:
            raise UserError(f"{place} has {shown(dict(own))} twice: remove one.")
        seen[setting.key] = own
        yield setting


def _combinations(grid: Mapping[str, Any], place: str) -> Iterator[dict[str, Any]]:
    """Every combination of the lists of a mapping. A value that is not a list is the same in all."""
    lists = {key: value if isinstance(value, list) else [value] for key, value in grid.items()}
    for key, values in lists.items():
        if not values:
            raise UserError(f"{place}: `{key}` is an empty list: write its values, or remove the key.")
    for combination in product(*lists.values()):
        yield dict(zip(lists, combination, strict=True))


def _values(own: Mapping[str, Any], place: str) -> dict[str, Any]:
    """The values by their whole dotted keys. `*` matches one name of a key."""
    found: dict[str, Any] = {}
    for key, value in own.items():
        names = [name for name in keys() if _fits(name, key)] if "*" in key else [key]
        if not names:
            raise UserError(f"{place}: `{key}` fits no key of {PARAMS}: `structalign params` lists them.")
        if isinstance(value, dict | list):
            example = "crp.weight: 3"
            raise UserError(f"{place}: `{key}` = {shown(value)} must be one value: write whole keys, as `{example}`.")
        for name in names:
            if name.split(".")[0] in SHARED:
                raise UserError(
                    f"{place}: `{name}` changes frames or features, which all runs share: set it in {PARAMS} and run "
                    "`structalign repro`, or remove it."
                )
            if name.split(".")[0] in OWN:
                raise UserError(
                    f"{place}: `{name}` cannot be set here: remove it. `seeds` lists the seeds, `methods` the methods."
                )
            if name in found:
                raise UserError(f"{place}: `{key}` and another key both set `{name}`: keep one.")
            found[name] = value
    refuse_unknown(found, place)
    return found


def _fits(name: str, key: str) -> bool:
    """Whether the dotted `key` matches `name`. `*` matches one name."""
    parts, wanted = name.split("."), key.split(".")
    return len(parts) == len(wanted) and all(want in ("*", part) for part, want in zip(parts, wanted, strict=True))


def _sections(values: Mapping[str, Any], place: str) -> dict[str, Any]:
    """The sections of params.yaml with these values, checked."""
    base = load_yaml(PARAMS)
    validate(base)
    tree = deepcopy(base)
    for key, value in values.items():
        *path, last = key.split(".")
        section = tree
        for part in path:
            section = section[part]
        section[last] = value
    params = validate(tree, place)
    refuse_too_many(params, len(category_ids(read_tasks())), place)
    return params.model_dump(exclude={*OWN, "data", "frames"})
