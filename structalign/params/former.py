"""What params.yaml was in older versions: for the refusal, `structalign migrate` and `structalign compare`.

What they lacked is told by the schema (`schema.defaults`).
"""

from collections.abc import Iterable, Mapping
from typing import Any

RENAMED = {  # a key or a section -> its name now, in the same place
    "contrastive.prior": "contrastive.logit_adjustment",
    "etf.frame": "etf.vertices",
    "expected": "reference",
}
GONE = {"method.task_prior": "`ranking.task_prior` acts on every method"}


def name_now(key: str) -> str:
    """A dotted key under its name in this version."""
    for old, new in RENAMED.items():
        if f"{key}.".startswith(f"{old}."):
            return new + key[len(old) :]
    return key


def both(key: str, present: Iterable[str]) -> tuple[str, str] | None:
    """(former, present name) that `key` of a former name belongs to, if the file's keys have both."""
    for old, new in RENAMED.items():
        if f"{key}.".startswith(f"{old}.") and any(f"{other}.".startswith(f"{new}.") for other in present):
            return old, new
    return None


def explain(key: str) -> str | None:
    """What became of a dotted key of an older version; None for every other."""
    if key in GONE:
        return f"`{key}` is gone: {GONE[key]}"
    return f"`{key}` is now `{name_now(key)}`" if name_now(key) != key else None


def task_prior_now(params: Mapping[str, Any]) -> Any:
    """`ranking.task_prior` with the effect that the flat `params` of an older version had: `method.task_prior` gave it
    to some methods, and never to one that trains nothing."""
    scope, method = params.get("method.task_prior"), params.get("method.name")
    acted = method in ("structalign", "head_only") or (scope == "all" and method not in ("zero_shot", "joint"))
    return params.get("ranking.task_prior") if scope is None or acted else 0


def as_of_now(params: Mapping[str, Any]) -> dict[str, Any]:
    """Flat parameters of any version under the names of this one, with the same effect."""
    renamed = {name_now(key): value for key, value in params.items() if key not in GONE}
    return renamed | {"ranking.task_prior": task_prior_now(params)} if "ranking.task_prior" in params else renamed
