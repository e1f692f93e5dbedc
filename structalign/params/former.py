"""Keys of params.yaml in older versions, for error messages, `structalign migrate` and `structalign compare`.

`schema.defaults` has the keys that older versions lacked.
"""

from collections.abc import Iterable, Mapping
from typing import Any

RENAMED = {  # key or section -> its new name in the same place
    "contrastive.prior": "contrastive.logit_adjustment",
    "etf.frame": "etf.vertices",
    "expected": "reference",
}
GONE = {"method.task_prior": "`ranking.task_prior` acts on every method"}


def name_now(key: str) -> str:
    """The name of a dotted key in this version."""
    for old, new in RENAMED.items():
        if f"{key}.".startswith(f"{old}."):
            return new + key[len(old) :]
    return key


def both(key: str, present: Iterable[str]) -> tuple[str, str] | None:
    """(old name, new name) of a key, if the file has both."""
    for old, new in RENAMED.items():
        if f"{key}.".startswith(f"{old}.") and any(f"{other}.".startswith(f"{new}.") for other in present):
            return old, new
    return None


def explain(key: str) -> str | None:
    """What happened to a dotted key of an older version. None for other keys."""
    if key in GONE:
        return f"`{key}` no longer exists: {GONE[key]}"
    return f"`{key}` is now `{name_now(key)}`" if name_now(key) != key else None


def task_prior_now(params: Mapping[str, Any]) -> Any:
    """`ranking.task_prior` with the same effect as the flat `params` of an older version.

    There, `method.task_prior` applied it only to some methods, and never to zero-shot CLIP.
    """
    scope, method = params.get("method.task_prior"), params.get("method.name")
    acted = method in ("structalign", "head_only") or (scope == "all" and method not in ("zero_shot", "joint"))
    return params.get("ranking.task_prior") if scope is None or acted else 0


def as_of_now(params: Mapping[str, Any]) -> dict[str, Any]:
    """Flat parameters of any version with the names of this version and the same effect."""
    renamed = {name_now(key): value for key, value in params.items() if key not in GONE}
    return renamed | {"ranking.task_prior": task_prior_now(params)} if "ranking.task_prior" in params else renamed
