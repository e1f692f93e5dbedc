"""All sections of params.yaml in one model, for `check`, `structalign params` and `structalign preset`.

Stages import only their sections and never this module. Otherwise a new section would re-run every stage.
"""

from collections.abc import Mapping, MutableMapping
from typing import Any

from pydantic import Field

from structalign.errors import UserError
from structalign.params.adapters import Adapters
from structalign.params.backbone import Backbone
from structalign.params.data import DataParams
from structalign.params.features import FeaturesParams
from structalign.params.frames import FramesParams
from structalign.params.losses import Losses
from structalign.params.method import MethodName
from structalign.params.optim import Phase, Shared
from structalign.params.ranking import Ranking
from structalign.params.reference import Reference
from structalign.params.section import Key, Section, keys_of, leaves, refuse_unknown_keys, typed


class Optim(Section):
    shared: Shared
    first: Phase
    later: Phase


class _Before(Section):
    """The sections before the losses."""

    seed: int = Field(ge=0, description="seed of everything random in training")
    method: MethodName
    data: DataParams
    frames: FramesParams
    backbone: Backbone
    features: FeaturesParams
    adapters: Adapters


class _After(Section):
    """The sections after the losses."""

    optim: Optim
    ranking: Ranking
    reference: Reference


class Params(_After, Losses, _Before):
    """All of params.yaml in the file's order. pydantic puts the fields of the last base class first."""


def overlay(tree: MutableMapping[str, Any], differences: Mapping[str, Any]) -> None:
    """Replace leaves of `tree` by those of `differences`, in place."""
    for key, value in differences.items():
        if isinstance(value, Mapping):
            overlay(tree[key], value)
        else:
            tree[key] = value


def keys() -> dict[str, Key]:
    """Every dotted key of params.yaml, in the file's order."""
    return keys_of(Params)


def defaults() -> dict[str, Any]:
    """The keys that older versions lacked, each with its default, which has the effect of the older version."""
    return {key: about.default for key, about in keys().items() if about.default is not None}


def refuse_unknown(tree: Mapping[Any, Any], source: str) -> None:
    """Raise a `UserError` for a key that params.yaml does not have. It names the nearest or the renamed key."""
    refuse_unknown_keys(dict(leaves(tree)), keys(), source)


def validate(tree: Any, source: str = "params.yaml") -> Params:
    """The parameters as typed values. Raises `UserError` for the first unknown, missing or invalid one."""
    params = typed(Params, tree, source)
    if params.etf.vertices != "gaussian" and params.etf.room > params.etf.dim + 1:
        raise UserError(
            f"{source}: `etf.capacity` = {params.etf.capacity} is more than `etf.dim` + 1 = "
            f"{params.etf.dim + 1}, the largest number of vertices in `etf.dim` dimensions: lower it, or raise "
            "`etf.dim`."
        )
    return params


def refuse_too_many(
    params: Params,
    categories: int,
    source: str = "params.yaml",
    way_out: str = "raise it",
) -> None:
    """Raise a `UserError` if the simplex has fewer vertices than the task list has categories."""
    if categories > params.etf.room:
        name = "`etf.dim` + 1" if params.etf.capacity == "auto" else "`etf.capacity`"
        raise UserError(
            f"{source}: {name} = {params.etf.room} is less than the {categories} categories of tasks.yaml, "
            f"which need one vertex each: {way_out}."
        )
