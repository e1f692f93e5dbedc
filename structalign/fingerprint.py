"""The fingerprint of a stage's run: a digest of its name, inputs and parameters.

It is computed before the run, and again from DVC's lock file. So the costs recorded under it are found for every
revision, experiment and restored result.
"""

import hashlib
import json
import re
import time
from collections.abc import Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Any

from structalign.errors import UserError
from structalign.strict_yaml import load_texts, load_yaml

LOCK, FOLDER = Path("dvc.lock"), ".dir"  # suffix of a folder's hash


def fingerprint_of_entry(name: str, entry: Mapping[str, Any], outputs: Mapping[str, str]) -> str:
    """The fingerprint of the stage `name` from its entry in a lock file. `outputs`: those of dvc.lock."""
    inputs = {dep["path"]: str(dep.get("md5")) for dep in entry.get("deps", [])}
    for path, md5 in inputs.items():
        if md5.endswith(FOLDER) and path not in outputs:
            inputs[path] = _together(path, outputs) or md5
    values = {key: value for file in (entry.get("params") or {}).values() for key, value in file.items()}
    return _fingerprint(name, inputs, values)


def fingerprint_of_stage(target: str) -> str | None:
    """The fingerprint of DVC's `target` (`train@t02`), which is about to run in this folder.

    Hashes of folders come from dvc.lock, which DVC writes after every stage. Returns None if dvc.yaml lacks the target,
    or if one of its folders is no output.
    """
    name = target.rpartition(":")[2]
    stage = _described(*name.partition("@")[::2])
    if stage is None:
        return None
    inputs = _inputs(stage.get("deps", []))
    params = load_yaml(Path("params.yaml"))  # only for the fingerprint, by DVC's list of keys
    values = {key: reduce(lambda tree, part: tree[part], key.split("."), params) for key in stage.get("params", [])}
    return None if inputs is None else _fingerprint(name, inputs, values)


def _inputs(deps: Sequence[str]) -> dict[str, str] | None:
    """The hash of each input. None if dvc.lock lacks one, for example while another DVC process writes it."""
    while True:
        try:
            outputs = outputs_of(load_texts(LOCK) if LOCK.exists() else {})
        except (UserError, AttributeError, LookupError, TypeError):  # incomplete or damaged
            if not _just_written(LOCK):
                raise
            outputs = {}
        inputs = {path: _hash(Path(path), outputs) for path in deps}
        known = {path: md5 for path, md5 in inputs.items() if md5}
        if len(known) == len(inputs):
            return known
        if not _just_written(LOCK):
            return None
        time.sleep(0.1)


def _just_written(file: Path) -> bool:
    return file.exists() and time.time() - file.stat().st_mtime < 1


def outputs_of(lock: Mapping[str, Any] | None) -> dict[str, str]:
    """The hash of every output in a lock file."""
    stages = ((lock or {}).get("stages") or {}).values()
    return {out["path"]: str(out.get("md5")) for stage in stages for out in stage.get("outs", [])}


def _described(kind: str, task: str) -> Mapping[str, Any] | None:
    """A stage of dvc.yaml, or of a file in the folder of its name. For `foreach`, the entry of the task."""
    files = [file for file in (Path("dvc.yaml"), Path(kind, "dvc.yaml")) if file.is_file()]
    stage = next((found[kind] for file in files if kind in (found := load_yaml(file)["stages"])), None)
    if stage is None or "foreach" not in stage:
        return stage
    row = load_yaml(Path("tasks.yaml"))["tasks"].get(task, {})  # `joint@all` has none
    places = {"key": task, **{f"item.{name}": value for name, value in row.items()}}
    return {name: _filled(stage["do"].get(name, []), places) for name in ("deps", "params")}


def _filled(texts: Sequence[str], places: Mapping[str, Any]) -> list[str]:
    return [re.sub(r"\$\{([\w.]+)\}", lambda found: str(places[found[1]]), text) for text in texts]


def _hash(path: Path, outputs: Mapping[str, str]) -> str | None:
    """The hash of a file's content. For a folder, its hash as an output, or the hashes of the outputs in it."""
    if path.is_file():
        return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    tracked = path.with_name(f"{path.name}.dvc")
    if tracked.is_file():
        return str(load_texts(tracked)["outs"][0].get("md5"))
    return outputs.get(path.as_posix()) or _together(path.as_posix(), outputs)


def _together(folder: str, outputs: Mapping[str, str]) -> str | None:
    inside = {path: md5 for path, md5 in outputs.items() if path.startswith(f"{folder}/")}
    return _fingerprint(folder, inside, {}) if inside else None


def _fingerprint(name: str, inputs: Mapping[str, str], values: Mapping[str, Any]) -> str:
    text = json.dumps([name, inputs, values], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
