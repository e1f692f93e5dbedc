"""dvc.yaml tells the truth: a stage lists exactly the code that it imports and the parameters that it reads.

DVC does not follow imports and does not see reads, so a missing line means stale results without any error.
"""

import ast
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from codemap import ROOT, calls, closure, imported, modules

from structalign.cli.params import params_of
from structalign.data.tasks import deal

STAGES: dict[str, Any] = {
    name: stage
    for file in ("dvc.yaml", "joint/dvc.yaml")
    for name, stage in yaml.safe_load((ROOT / file).read_text(encoding="utf-8"))["stages"].items()
}
TASKS = deal(["first", "later"], 2)  # one row of each kind


def described(stage: str) -> dict[str, Any]:
    """A stage's entry in dvc.yaml, whether it is one or a row a task."""
    entry: dict[str, Any] = STAGES[stage]
    return entry.get("do", entry)  # type: ignore[no-any-return]


def code(dep: str) -> set[str]:
    """The modules that a dependency is or, if it is a folder, holds."""
    files = {file.relative_to(ROOT).as_posix() for file in modules().values()}
    return {file for file in files if file == dep or file.startswith(f"{dep}/")}


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_lists_exactly_the_code_it_imports(stage: str) -> None:
    listed = {file for dep in described(stage)["deps"] for file in code(dep)}
    files = modules()
    real = {files[name].relative_to(ROOT).as_posix() for name in closure(f"stages.{stage}")}
    missing, needless = sorted(real - listed), sorted(listed - real)
    assert not missing, f"dvc.yaml, {stage}: add {', '.join(missing)}"
    assert not needless, f"dvc.yaml, {stage}: remove {', '.join(needless)}"


# What embed ranks because it is too large to keep holds for one beta; a change of beta runs evaluate alone, which
# refuses ranks of another (tests/retrieval/test_ranking.py).
GUARDED = {"embed": {"ranking"}}


@pytest.mark.parametrize("stage", [stage for stage in STAGES if stage != "check"])
def test_a_stage_lists_exactly_the_parameters_it_reads(stage: str) -> None:
    """`check` reads all of params.yaml as a file: an unknown key must make it run, too."""
    listed = set[str]().union(*params_of(STAGES[stage], TASKS))
    files = modules()
    patterns = [
        key_pattern(call.args[0])
        for name in closure(f"stages.{stage}") - {"structalign.params"}
        for call in calls(files[name], "read")
    ]
    unread = {entry for entry in listed if not any(re.fullmatch(p, entry) for p in patterns)}
    undeclared = {p for p in patterns if not any(re.fullmatch(p, entry) for entry in listed)}
    undeclared -= GUARDED.get(stage, set())
    assert (unread, undeclared) == (set(), set())


def key_pattern(key: ast.expr) -> str:
    """The keys that `read(...)` may read, as a regular expression: a literal, or an f-string with holes."""
    if isinstance(key, ast.Constant):
        return re.escape(str(key.value))
    assert isinstance(key, ast.JoinedStr), f"read({ast.unparse(key)}) is neither a literal nor an f-string"
    return "".join(re.escape(str(part.value)) if isinstance(part, ast.Constant) else "[a-z_]+" for part in key.values)


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_lists_the_task_list_only_if_it_reads_it(stage: str) -> None:
    """Appending a task must not re-run the stages of the tasks before."""
    reads = any(calls(modules()[f"stages.{stage}"], "read_tasks"))
    assert ("tasks.yaml" in described(stage)["deps"]) == reads


@pytest.mark.parametrize("stage", [stage for stage in STAGES if stage != "check"])
def test_every_stage_waits_for_the_check(stage: str) -> None:
    assert "work/checked" in described(stage)["deps"]


def test_params_yaml_is_read_through_read_alone() -> None:
    """A whole-file read would escape the comparison above."""
    whole_file = {name for name, file in modules().items() if "structalign.params.PARAMS" in imported(file)}
    assert whole_file <= {"stages.check", *(f"structalign.cli.{name}" for name in ("init", "params", "preset"))}


def test_every_stage_of_dvc_yaml_is_a_module_and_every_module_a_stage() -> None:
    there = {name.removeprefix("stages.") for name in modules() if name.startswith("stages.")}
    assert set(STAGES) == there


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_runs_by_module_name(stage: str) -> None:
    """`python stages/x.py` in a `dvc exp run --temp` would import the workspace's code."""
    assert f" -m stages.{stage}" in described(stage)["cmd"]


def test_another_python_says_that_the_environment_is_not_active() -> None:
    found = subprocess.run(
        [sys.executable, "-S", "-m", "stages.check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (found.returncode, found.stderr.count("\n")) == (1, 1)
    assert "activate the environment, `source .venv/bin/activate`" in found.stderr


@pytest.mark.parametrize("file", ["dvc.yaml", "joint/dvc.yaml"])
def test_no_output_is_persistent(file: str) -> None:
    assert "persist" not in Path(ROOT / file).read_text(encoding="utf-8")
