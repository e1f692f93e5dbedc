"""Every section of params.yaml in one model, for the check, `structalign params` and `structalign preset`.

A stage imports its own sections and never this module: else a new section would re-run every stage.
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


def overlay(tree: MutableMapping[str, Any], differences: Mapping[str, Any]) -> None:
    """Write the leaves of `differences` over those of `tree`, in place."""
    for key, value in differences.items():
        if isinstance(value, Mapping):
            overlay(tree[key], value)
        else:
            tree[key] = value


def keys() -> dict[str, Key]:
    """Every dotted key of params.yaml, in the file's order."""
    return keys_of(Params)


def defaults() -> dict[str, Any]:
    """The keys that older versions lacked, each with the value with which they worked: the default of its field."""
    return {key: about.default for key, about in keys().items() if about.default is not None}


def refuse_unknown(tree: Mapping[Any, Any], source: str) -> None:
    """Raise a `UserError` if the tree holds a key that params.yaml has not: it names the nearest, or the newer one."""
    refuse_unknown_keys(dict(leaves(tree)), keys(), source)


def validate(tree: Any, source: str = "params.yaml") -> Params:
    """The parameters as typed values; one `UserError` for the first unknown, missing or impossible one."""
    params = typed(Params, tree, source)
    if params.etf.vertices == "exact" and params.etf.room > params.etf.dim + 1:
        raise UserError(
            f"{source}: `etf.capacity` = {params.etf.capacity} is more than `etf.dim` + 1 = "
            f"{params.etf.dim + 1}, the most vertices that a simplex in `etf.dim` dimensions has: lower it, or raise "
            "`etf.dim`."
        )
    return params


def refuse_too_many(
    params: Params,
    categories: int,
    source: str = "params.yaml",
    way_out: str = "raise it",
) -> None:
    """Raise a `UserError` if the simplex has fewer vertices than there are categories in the task list."""
    if categories > params.etf.room:
        name = "`etf.dim` + 1" if params.etf.capacity == "auto" else "`etf.capacity`"
        raise UserError(
            f"{source}: {name} = {params.etf.room} is less than the {categories} categories of tasks.yaml, "
            f"which need a vertex each; {way_out}."
        )
