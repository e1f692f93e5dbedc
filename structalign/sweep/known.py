"""The fingerprint of a run: its request, its code and its inputs."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from structalign.code_digest import Code
from structalign.data.tasks import read_tasks
from structalign.errors import UserError
from structalign.paths import BACKBONE, CHECKPOINTS, FEATURES, FRAMES, MANIFEST
from structalign.store import digest

CODE = "structalign.sweep.run"
BY_NAME = ("structalign.search.signals.*", "structalign.learning.methods.{method}")  # imported by name


def fingerprint(asked: Mapping[str, Any], data: str) -> str:
    """SHA-256 of `asked`, of the code on disk, and of `data_digest`."""
    code = Code()
    names = [name.format(method="finetune" if asked["method"] == "joint" else asked["method"]) for name in BY_NAME]
    runs = code.digest(CODE, [module for name in names for module in code.matching(name)])
    return hashlib.sha256(json.dumps([asked, runs, data], sort_keys=True).encode()).hexdigest()


def data_digest(split: str) -> str:
    """SHA-256 of all files that the runs of a split read. Raises `UserError` if a folder is missing."""
    folders = [BACKBONE, CHECKPOINTS / "t00"]
    for task in read_tasks():
        folders += [MANIFEST / task, *(kind / task / part for kind in (FEATURES, FRAMES) for part in ("train", split))]
    for folder in folders:
        if not folder.is_dir():
            raise UserError(
                f"{folder} does not exist: run `structalign repro` first, since all runs share its features."
            )
    files = sorted(file for folder in folders for file in folder.rglob("*") if file.is_file())
    return hashlib.sha256("\n".join(f"{file} {digest(file)}" for file in files).encode()).hexdigest()
