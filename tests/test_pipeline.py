"""dvc.yaml is right: a stage lists the digest of its code, and exactly the parameters that it reads.

DVC does not follow imports and does not see reads, so a missing line means stale results without any error.
"""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from codemap import CODE, ROOT, calls, closure, imported, modules

from stages.check import main as check
from structalign.cli.params import params_of
from structalign.code_digest import LOADED_BY_NAME, Code, stage_digest
from structalign.code_map import PACKAGES
from structalign.code_seen import SEEN
from structalign.data.tasks import split_categories
from structalign.strict_yaml import load_yaml

STAGES: dict[str, Any] = {
    name: stage for file in ("dvc.yaml", "joint/dvc.yaml") for name, stage in load_yaml(ROOT / file)["stages"].items()
}
TASKS = split_categories(["first", "later"], 2)  # one row of each kind


def described(stage: str) -> dict[str, Any]:
    """A stage's entry in dvc.yaml, whether it has one row or a row for each task."""
    entry: dict[str, Any] = STAGES[stage]
    return entry.get("do", entry)  # type: ignore[no-any-return]


@pytest.mark.parametrize("stage", [stage for stage in STAGES if stage != "check"])
def test_a_stage_depends_on_the_digest_of_its_own_code(stage: str) -> None:
    """So the stage also waits for the check, and a wrong parameter even stops a run with a target."""
    deps = described(stage)["deps"]
    assert [dep for dep in deps if dep.startswith(("work/code", *PACKAGES))] == [f"work/code/{stage}"]


def test_the_check_depends_on_all_code_and_writes_a_digest_for_every_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert {"params.yaml", "tasks.yaml", *PACKAGES} == set(described("check")["deps"])
    for name in ("params.yaml", "tasks.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    check()
    files = {file for file in Path("work/code").iterdir() if file.name != SEEN}
    written = {file.name: file.read_text(encoding="utf-8").strip() for file in files}
    params = load_yaml(Path("params.yaml"))
    assert written == {stage: stage_digest(CODE, stage, params) for stage in set(STAGES) - {"check"}}


def test_the_check_reports_results_of_removed_tasks_and_frames_that_are_too_small(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("params.yaml", "tasks.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    check()
    assert capsys.readouterr().err == ""
    for name in ("t00", "t10", "t11"):
        (tmp_path / "checkpoints" / name).mkdir(parents=True)
    (tmp_path / "data/clip").mkdir(parents=True)
    (tmp_path / "data/clip/config.json").write_text('{"vision_config": {"image_size": 224}}')
    check()
    stale, small = capsys.readouterr().err.splitlines()
    assert stale.startswith("checkpoints/t11: ")
    assert "`structalign doctor --fix`" in stale
    assert "set `frames.size: 224`" in small


def test_dvc_does_not_take_compiled_code_for_code() -> None:
    assert "__pycache__/" in (ROOT / ".dvcignore").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("stage", STAGES)
def test_what_a_stage_loads_by_name_is_part_of_its_digest(stage: str) -> None:
    """No import statement shows it. Modules that params loads only word an error, and change no result."""
    of_results = closure(f"stages.{stage}") - {"structalign.params.reading"}
    by_name = {name for name in of_results if any("import_module" in found for found in imported(name))}
    assert not by_name or stage in LOADED_BY_NAME


def test_a_template_only_counts_for_the_report(tmp_path: Path) -> None:
    packages = {package: tmp_path / package for package in PACKAGES}
    for package, folder in packages.items():
        shutil.copytree(ROOT / package, folder, ignore=shutil.ignore_patterns("__pycache__"))
    template = packages["structalign"] / "report/page.html.j2"
    template.write_text(template.read_text(encoding="utf-8") + "<!-- edited -->", encoding="utf-8")
    edited, params = Code(packages), load_yaml(ROOT / "params.yaml")
    other = {s for s in STAGES if stage_digest(edited, s, params) != stage_digest(CODE, s, params)}
    assert other == {"report"}


def start(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """`python -m stages.evaluate --help` in a folder."""
    return subprocess.run(
        [sys.executable, "-m", "stages.evaluate", "--help"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("target", ["evaluate@t03", "some/dvc.yaml:evaluate@t03", "evaluate"])
@pytest.mark.parametrize("written", ["0", None], ids=["of other code", "missing"])
def test_a_stage_of_dvc_refuses_code_that_the_check_has_not_seen(
    tmp_path: Path, target: str, written: str | None
) -> None:
    noted = tmp_path / "work/code/evaluate"
    noted.parent.mkdir(parents=True)
    if written is not None:
        noted.write_text(written, encoding="utf-8")
    refused = start(tmp_path, DVC_STAGE=target)
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert "work/code/evaluate" in refused.stderr
    assert f"`dvc repro -s check {target}`" in refused.stderr


def test_a_stage_of_dvc_runs_the_code_that_the_check_has_seen(tmp_path: Path) -> None:
    noted = tmp_path / "work/code/evaluate"
    noted.parent.mkdir(parents=True)
    noted.write_text(CODE.digest("stages.evaluate") + "\n", encoding="utf-8")
    assert start(tmp_path, DVC_STAGE="evaluate@t03").returncode == 0


@pytest.mark.parametrize("wrong", ["method: 3", "seed: 010", "method: {name: vr_lwff}"])
def test_a_stage_that_loads_code_by_name_refuses_wrong_params_in_one_sentence(tmp_path: Path, wrong: str) -> None:
    """Also with `-s`, which leaves out the check."""
    params = (ROOT / "params.yaml").read_text(encoding="utf-8")
    text = re.sub(r"^method:\n  .*$|^seed:.*$", "", params, flags=re.M)
    right = {"method": "method: {name: structalign}", "seed": "seed: 0"} | {wrong.partition(":")[0]: wrong}
    (tmp_path / "params.yaml").write_text("\n".join([text, *right.values()]), encoding="utf-8")
    refused = start(tmp_path, DVC_STAGE="train@t01")
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert refused.stderr.startswith("error: params.yaml")
    assert wrong.partition(":")[0] in refused.stderr


@pytest.mark.parametrize("environment", [{}, {"DVC_STAGE": "mine"}], ids=["by hand", "in a user's own stage"])
def test_a_stage_in_a_user_s_own_stage_needs_no_digest(tmp_path: Path, environment: dict[str, str]) -> None:
    assert start(tmp_path, **environment).returncode == 0


# If scores are too large to store, embed ranks them for one beta. A change of beta only runs evaluate, which refuses
# ranks of another beta (tests/evaluation/test_ranks.py).
GUARDED = {"embed": {"ranking"}}


@pytest.mark.parametrize("stage", [stage for stage in STAGES if stage != "check"])
def test_a_stage_lists_exactly_the_parameters_it_reads(stage: str) -> None:
    """`check` reads all of params.yaml as a file, since an unknown key must also run it."""
    listed = set[str]().union(*params_of(STAGES[stage], TASKS))
    files = modules()
    patterns = [
        key_pattern(call.args[0])
        for name in closure(f"stages.{stage}") - {"structalign.params.reading"}
        for call in calls(files[name], "read")
    ]
    unread = {entry for entry in listed if not any(re.fullmatch(p, entry) for p in patterns)}
    undeclared = {p for p in patterns if not any(re.fullmatch(p, entry) for entry in listed)}
    undeclared -= GUARDED.get(stage, set())
    assert (unread, undeclared) == (set(), set())


def key_pattern(key: ast.expr) -> str:
    """The keys that `read(...)` may read, as a regular expression, from a literal or an f-string."""
    if isinstance(key, ast.Constant):
        return re.escape(str(key.value))
    assert isinstance(key, ast.JoinedStr), f"read({ast.unparse(key)}) is neither a literal nor an f-string"
    return "".join(re.escape(str(part.value)) if isinstance(part, ast.Constant) else "[a-z_]+" for part in key.values)


@pytest.mark.parametrize("stage", [stage for stage in STAGES if stage != "check"])
def test_a_stage_depends_on_the_losses_of_its_task_if_it_reads_settings(stage: str) -> None:
    listed = [dep for dep in described(stage)["deps"] if dep.startswith("work/losses")]
    reads = "structalign.learning.settings" in closure(f"stages.{stage}")
    assert len(listed) == reads
    assert all(re.fullmatch(r"work/losses/(t01|\$\{key\})\.json", dep) for dep in listed)


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_lists_the_task_list_only_if_it_reads_it(stage: str) -> None:
    """Appending a task must not re-run the stages of the tasks before."""
    reads = any(calls(modules()[f"stages.{stage}"], "read_tasks"))
    assert ("tasks.yaml" in described(stage)["deps"]) == reads


def test_params_yaml_is_only_read_through_read() -> None:
    """A whole-file read would escape the comparison above."""
    whole_file = {name for name in modules() if "structalign.params.reading.PARAMS" in imported(name)}
    for stage in {*STAGES} - {"check"}:
        assert not whole_file & {f"stages.{stage}", *closure(f"stages.{stage}")}, stage


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
    assert "activate the environment with `source .venv/bin/activate`" in found.stderr


@pytest.mark.parametrize("file", ["dvc.yaml", "joint/dvc.yaml"])
def test_no_output_is_persistent(file: str) -> None:
    assert "persist" not in Path(ROOT / file).read_text(encoding="utf-8")
