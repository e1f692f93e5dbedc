"""The table of methods: each is a row over one training loop (method, section 6)."""

from dataclasses import dataclass

from structalign.errors import UserError


@dataclass(frozen=True)
class Method:
    """trains: parameter groups that learn; terms: addends of the loss beside L_con, by name."""

    trains: tuple[str, ...]
    terms: tuple[str, ...] = ()


ADAPTERS = ("fusion", "alpha", "lora", "router", "task_prototypes")

METHODS = {
    "structalign": Method(trains=(*ADAPTERS, "head"), terms=("etf", "crp", "pseudo")),
    "finetune": Method(trains=ADAPTERS),
    "zero_shot": Method(trains=()),
}


def method_named(name: str) -> Method:
    """The row `name` of the table; an unknown one is a `UserError`."""
    if name not in METHODS:
        raise UserError(f"`method.name` = {name!r} is no method: choose one of {', '.join(METHODS)}.")
    return METHODS[name]
