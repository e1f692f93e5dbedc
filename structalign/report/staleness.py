"""Whether results belong to the current inputs and parameters, according to DVC's lock file."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from structalign.params.former import GONE, name_now
from structalign.params.losses import Losses, acting, sections
from structalign.params.section import leaves
from structalign.paths import LOSSES
from structalign.store import json_text


def made_of_other(now: Mapping[str, str | None], lock: Mapping[str, Any] | None, stage: str) -> str | None:
    """The first input of a stage whose current hash differs from the lock file."""
    return next((path for path, md5 in now.items() if recorded(lock, stage, path) not in (None, md5)), None)


def recorded(lock: Mapping[str, Any] | None, stage: str, path: str) -> str | None:
    """The hash of a stage's input in a lock file, or None."""
    deps = (((lock or {}).get("stages") or {}).get(stage) or {}).get("deps", [])
    return next((dep.get("md5") for dep in deps if dep["path"] == path), None)


def outdated(params: Mapping[str, Any], lock: Mapping[str, Any] | None, tasks: Sequence[str]) -> str | None:
    """The first key whose value in params.yaml differs from dvc.lock.

    Stages of tasks that tasks.yaml no longer has stay in the lock file, but don't count. Both files may be of an older
    version.
    """
    written = dict(leaves(params))
    now = {name_now(key): value for key, value in written.items()}
    for name, stage in ((lock or {}).get("stages") or {}).items():
        if "@" in name and name.split("@")[1] not in tasks:
            continue
        for used in (stage.get("params") or {}).values():
            for key, value in leaves(used):
                if key not in GONE and now.get(name_now(key)) != value:
                    return key if key in written else name_now(key)
    return None


def task_of_other_losses(params: Mapping[str, Any], lock: Mapping[str, Any] | None, tasks: Sequence[str]) -> str | None:
    """The first task whose losses in params.yaml differ from dvc.lock.

    The lock file has the hash of the task's file from `check`. params.yaml of another version cannot be compared.
    """
    try:
        losses = Losses.model_validate({name: params[name] for name in sections()})
    except (KeyError, ValidationError):
        return None
    for number, task in enumerate(tasks, start=1):
        now = hashlib.md5(json_text(acting(losses, number)).encode(), usedforsecurity=False).hexdigest()
        for stage in (lock or {}).get("stages") or {}:
            if made_of_other({str(LOSSES / f"{task}.json"): now}, lock, stage):
                return task
    return None
