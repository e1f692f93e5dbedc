"""After each change, DVC runs the stages that depend on it and no others: real stages, three tasks, toy CLIP.

All tests share one project. After each, the change is reverted and the run cache restores every result.
"""

import csv
import io
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from torch import Tensor
from toy import Project, categories, clips, executed, make_clip, make_project, quick_python, write_captions

from structalign import load
from structalign.data.tasks import split_categories, write_tasks
from structalign.model.video_text import TextEmbeddings
from structalign.report.compare import COST_COLUMNS
from structalign.report.revisions import read_runs
from structalign.search.scoring import score
from structalign.search.signal import Comparison
from structalign.strict_yaml import dump_yaml, load_yaml

pytestmark = pytest.mark.slow

TASKS = 3
LANE = ("frames", "features", "train", "embed", "evaluate")


def lane(first: str, since: int = 1, until: int = TASKS) -> set[str]:
    """The stages from `first` to evaluate of the tasks `since` to `until`, and the report."""
    names = LANE[LANE.index(first) :]
    return {f"{name}@t{task:02d}" for name in names for task in range(since, until + 1)} | {"report"}


@pytest.fixture(scope="module")
def run_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """The toy project after its first `dvc repro`, committed."""
    with quick_python(tmp_path_factory.mktemp("python")) as python:
        project = Project(tmp_path_factory.mktemp("toy"), python)
        make_project(project, TASKS)
        assert project.repro() == {"check", "prepare"} | lane("frames")
        project.commit()
        yield project


@pytest.fixture
def project(run_once: Project) -> Iterator[Project]:
    """The project after its first run. The state is restored afterwards."""
    before = run_once.results()
    yield run_once
    for experiment in run_once.experiments():
        run_once.run("git", "update-ref", "-d", experiment)
    restored = run_once.results() == before
    run_once.run("git", "checkout", "-q", ".")
    run_once.run("git", "clean", "-fdq")
    if not restored:
        run_once.run("dvc", "checkout", "-q", "dvc.yaml", "data.dvc")


def test_nothing_changed_runs_nothing(project: Project) -> None:
    assert project.repro() == set()


@pytest.mark.parametrize(
    ("key", "value", "row"),
    [
        ("ranking.beta", 0.25, lane("evaluate")),
        ("ranking.task_prior", 0, lane("evaluate")),
        ("ranking.word_prior", 0, lane("evaluate")),
        ("crp.weight", 0.5, lane("train", since=2)),
        ("optim.later.lr", 5e-3, lane("train", since=2)),
        ("etf.dim", 24, lane("train")),
        ("seed", 1, lane("train")),
        ("backbone.vision_frozen", 1, lane("features")),
        ("frames.per_video", 3, lane("frames")),
    ],
)
def test_a_changed_parameter_runs_its_stages_and_the_run_cache_restores_the_results(
    project: Project, key: str, value: Any, row: set[str]
) -> None:
    before = project.results()
    old = load_yaml(project.root / "params.yaml")
    project.set(key, value)
    assert project.repro() - {"check"} == row
    for part in key.split("."):
        old = old[part]
    project.set(key, old)
    # the report's small files are in git, and DVC's run cache does not restore them
    assert project.repro() == {"report"}
    assert project.results() == before


def every(stage: str) -> set[str]:
    """The stages of a name, one for each task."""
    return {f"{stage}@t{task:02d}" for task in range(1, TASKS + 1)}


def edit(project: Project, file: str, addition: str = "EDITED = True") -> None:
    """Add a line to a file of the project's code."""
    path = project.root / file
    path.write_text(f"{path.read_text(encoding='utf-8')}\n{addition}\n", encoding="utf-8")


def test_a_comment_only_runs_the_check(project: Project) -> None:
    edit(project, "structalign/store.py", "# every stage imports this")
    edit(project, "stages/train.py", "# a stage")
    assert project.repro() == {"check"}
    assert project.repro() == set()


@pytest.mark.parametrize(
    ("file", "addition", "row"),
    [
        # their outputs do not change, so no later stage runs
        ("structalign/model/frozen_features.py", "EDITED = True", every("features")),
        ("structalign/learning/losses.py", "EDITED = True", every("train")),
        ("structalign/learning/methods/structalign.py", "EDITED = True", every("train")),
        ("structalign/learning/methods/vr_lwf.py", "EDITED = True", set()),
        ("structalign/search/signals/task_prior.py", "EDITED = True", every("embed")),
        ("structalign/report/page.html.j2", "<!-- edited -->", {"report"}),
        ("structalign/report/compare.html.j2", "<!-- no stage uses it -->", set()),
        ("structalign/cli/search.py", "EDITED = True", set()),
    ],
)
def test_edited_code_runs_the_stages_that_use_it(project: Project, file: str, addition: str, row: set[str]) -> None:
    edit(project, file, addition)
    assert project.repro() == row | {"check"}


def test_a_moved_module_only_runs_the_check(project: Project) -> None:
    code = project.root / "structalign"
    (code / "ground").mkdir()
    (code / "ground/__init__.py").touch()
    (code / "store.py").rename(code / "ground/disk.py")
    for file in [*code.rglob("*.py"), *(project.root / "stages").glob("*.py")]:
        text = file.read_text(encoding="utf-8")
        file.write_text(re.sub(r"\bstructalign\.store\b", "structalign.ground.disk", text), encoding="utf-8")
    assert project.repro() == {"check"}


def edit_evaluation(project: Project, how: str) -> None:
    """Edit a module that only evaluate imports, differently in each test, so that the run cache has no results."""
    edit(project, "structalign/report/sanity_check.py", f"EDITED = {how!r}")


def test_edited_code_runs_with_a_target(project: Project) -> None:
    edit_evaluation(project, "target")
    assert project.repro("evaluate@t02") == {"check", "evaluate@t02"}


def test_a_stage_without_its_check_never_runs_edited_code(project: Project) -> None:
    edit_evaluation(project, "single")
    lock = (project.root / "dvc.lock").read_bytes()
    assert project.repro("-s", "evaluate@t02") == set()
    for way in ("-s", "--downstream"):
        refused = project.run("dvc", "repro", way, "-f", "evaluate@t02", check=False)
        assert refused.returncode != 0
        assert "`dvc repro -s check evaluate@t02`" in refused.stderr
        assert (project.root / "dvc.lock").read_bytes() == lock
    assert project.repro("-s", "check", "evaluate@t02") == {"check", "evaluate@t02"}


def test_edited_code_runs_in_a_temporary_workspace(project: Project) -> None:
    edit_evaluation(project, "temp")
    before = project.results()
    assert executed(project.run("dvc", "exp", "run", "--temp")) == {"check"} | every("evaluate")
    assert project.results() == before
    assert len(project.experiments()) == 1


def test_a_queued_run_keeps_the_code_that_it_was_queued_with(project: Project) -> None:
    edit_evaluation(project, "queue")
    project.run("dvc", "exp", "run", "--queue", "-n", "edited")
    project.run("git", "checkout", "-q", "structalign")
    project.run("dvc", "exp", "run", "--run-all")
    assert executed(project.run("dvc", "queue", "logs", "edited")) == {"check"} | every("evaluate")


def test_a_tasks_file_of_an_older_version_runs_no_training(project: Project) -> None:
    file = project.root / "tasks.yaml"
    tree = load_yaml(file)
    for name, row in tree["tasks"].items():
        row |= {column: "contrastive" if name == "t01" else column for column in ("crp", "pseudo")}
    file.write_text(dump_yaml(tree), encoding="utf-8")
    assert project.repro() == {"check", "prepare", "report"}


def test_an_experiment_shows_the_weight_of_a_loss(project: Project) -> None:
    """No stage declares it. Training depends on the file that `check` writes."""
    done = project.run("dvc", "exp", "run", "-n", "weaker", "-S", "crp.weight=0.7")
    assert executed(done) - {"check"} == lane("train", since=2)
    head, *rows = csv.reader(io.StringIO(project.run("dvc", "exp", "show", "--csv").stdout))
    shown = [(row[head.index("Experiment")], float(row[head.index("crp.weight")])) for row in rows]
    assert shown == [("", 0.7), ("", 10), ("weaker", 0.7)]  # the workspace, its commit, the experiment
    assert "crp.weight" in project.run("dvc", "params", "diff").stdout
    project.run("dvc", "exp", "remove", "weaker")


def test_costs_of_runs_in_temporary_workspaces_are_in_the_project(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first task's costs are those of the run in the workspace. They were not measured again."""
    project.run("dvc", "exp", "run", "--queue", "-n", "queued", "-S", "crp.weight=0.8")
    project.run("dvc", "exp", "run", "--run-all")
    apart = executed(project.run("dvc", "exp", "run", "--temp", "-n", "apart", "-S", "crp.weight=0.9"))
    assert apart - {"check"} == lane("train", since=2)
    monkeypatch.chdir(project.root)
    runs, _ = read_runs(["queued", "apart", "HEAD"])
    assert len({run.costs["seconds"] for run in runs}) == 3
    assert all(run.costs["peak_memory_bytes"] > 0 for run in runs)
    assert {run.costs["trained_parameters"] for run in runs} == {runs[0].costs["trained_parameters"]} != {0}


def test_results_from_the_run_cache_keep_their_costs(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project.root)
    before = read_runs(["workspace"])[0][0].costs
    project.set("crp.weight", 0.6)
    project.repro()
    assert read_runs(["workspace"])[0][0].costs["seconds"] != before["seconds"]
    project.set("crp.weight", 10)
    project.repro()
    assert read_runs(["workspace"])[0][0].costs == before


def test_a_clone_without_costs_lacks_nothing_else(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(clone_of(project, tmp_path).root)
    [run], notes = read_runs(["HEAD"])
    monkeypatch.chdir(project.root)
    [known], _ = read_runs(["HEAD"])
    assert notes == []
    assert run.metrics == known.metrics
    unmeasured = {"seconds": None, "peak_memory_bytes": None}
    assert {key: run.costs.get(key) for key in COST_COLUMNS} == {**known.costs, **unmeasured}


def test_stored_videos_keep_every_byte_when_later_tasks_change(project: Project) -> None:
    stored = project.root / "work/gallery/t01"
    before = {file.name: file.read_bytes() for file in stored.iterdir()}
    project.set("optim.later.lr", 1e-2)
    assert "embed@t02" in project.repro()
    assert {file.name: file.read_bytes() for file in stored.iterdir()} == before


def test_a_tasks_videos_are_scored_by_queries_routed_as_that_task(project: Project) -> None:
    last, rows = f"t{TASKS:02d}", json.loads((project.root / f"work/scores/t{TASKS:02d}/test.json").read_text())
    scores = load_file(project.root / f"work/scores/{last}/test.safetensors")["method.words"]
    retriever = load(project.root / "checkpoints" / last)
    texts = [query["text"] for query in rows["queries"]]
    for number in range(1, TASKS + 1):
        columns = [i for i, video in enumerate(rows["videos"]) if video["task"] == f"t{number:02d}"]
        frames = load_file(project.root / f"work/gallery/t{number:02d}/test.safetensors")["frames"]
        as_task = [word_scores(retriever.encode_text(texts, task), frames) for task in range(1, TASKS + 1)]
        gaps = [float((scores[:, columns] - given).abs().max()) for given in as_task]
        assert gaps[number - 1] < 1e-5 < min(gap for task, gap in enumerate(gaps, start=1) if task != number)


def word_scores(text: TextEmbeddings, frames: Tensor) -> Tensor:
    return score(Comparison(text, text, frames), {})["words"]


def test_more_frozen_layers_than_the_backbone_has_are_refused(project: Project) -> None:
    project.set("backbone.vision_frozen", 9)
    refused = project.run("python", "-m", "stages.features", "t01", check=False)
    assert refused.returncode == 1
    assert "`backbone.vision_frozen` = 9, but data/clip has only 2 vision layers: lower it." in refused.stderr


def test_a_learned_category_keeps_its_number(project: Project) -> None:
    file = project.root / "work/manifest/t02/task.json"
    held = json.loads(file.read_text(encoding="utf-8"))
    file.unlink()  # it may be a link into DVC's cache
    file.write_text(json.dumps(held | {"categories": dict.fromkeys(held["categories"], 0)}), encoding="utf-8")
    refused = project.run("python", "-m", "stages.train", "t02", check=False)
    assert refused.returncode == 1
    assert "tasks.yaml: the categories of t02 do not follow the 2 learned ones" in refused.stderr


def test_a_new_test_video_of_the_last_task_trains_nothing(project: Project) -> None:
    make_clip(project.root / "data/videos" / f"{TASKS}a3.mp4", hue=355)
    assert project.repro() == {"prepare"} | lane("frames", since=TASKS) - {f"train@t{TASKS:02d}"}


def test_a_stage_run_by_hand_never_writes_through_a_link_into_the_cache(project: Project) -> None:
    project.run("dvc", "config", "--local", "cache.type", "hardlink")
    project.run("dvc", "checkout", "-q", "--force", "--relink", "dvc.yaml")
    last, prev = f"t{TASKS:02d}", f"t{TASKS - 1:02d}"
    assert (project.root / f"checkpoints/{last}/adapters.safetensors").stat().st_nlink > 1
    cache = project.root / ".dvc/cache/files"
    before = {file: file.stat().st_mtime_ns for file in cache.rglob("*") if file.is_file()}
    project.run("python", "-m", "stages.prepare")
    for stage in ("frames", "features", "train", "evaluate"):
        project.run("python", "-m", f"stages.{stage}", last)
    project.run("python", "-m", "stages.embed", last, prev)
    project.run("python", "-m", "stages.report")
    after = {file: file.stat().st_mtime_ns for file in before}
    project.run("dvc", "config", "--local", "--unset", "cache.type")
    project.run("dvc", "checkout", "-q", "--force", "dvc.yaml")
    assert after == before


def test_a_new_task_only_runs_its_own_stages(project: Project) -> None:
    write_captions(project.root, clips(project.root, TASKS + 1))
    names = [name for task in range(1, TASKS + 2) for name in categories(task)]
    write_tasks(split_categories(names, TASKS + 1), project.root / "tasks.yaml")
    new = lane("frames", since=TASKS + 1, until=TASKS + 1)
    assert project.repro() == {"check", "prepare"} | new


def test_joint_is_trained_once_for_all_methods(project: Project) -> None:
    project.repro()  # what the row before left of the report
    assert project.repro("joint/dvc.yaml") == set()  # not declared
    (project.root / "joint/on.yaml").write_text("joint: [all]\n")
    assert project.repro("joint/dvc.yaml") == {"joint/dvc.yaml:joint@all"}
    metrics = project.root / "reports/joint/metrics.json"
    numbers = metrics.read_bytes()
    shutil.rmtree(metrics.parent)
    (project.root / "joint/dvc.lock").unlink()
    project.set("method.name", "finetune")
    assert project.repro("joint/dvc.yaml") == {"check"}
    assert metrics.read_bytes() == numbers


@pytest.mark.parametrize("target", [[], [f"evaluate@t{TASKS:02d}"]], ids=["all", "one target"])
@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("crp.wieght=1", "crp.wieght"),
        ("+crp.wieght=1", "rename it (the nearest is `crp.weight`), or remove it"),
        ("+crpp.weight=1", "rename it (the nearest is `crp.weight`), or remove it"),
        ("etf.dim=-3", "`etf.dim` = -3 must be a whole number at least 1"),
        ("crp.weight=nan", "`crp.weight` = NaN must be a finite number"),
    ],
)
def test_a_wrong_parameter_is_refused_before_anything_runs(
    project: Project, override: str, said: str, target: list[str]
) -> None:
    before = project.results()
    refused = project.run("dvc", "exp", "run", "-S", override, *target, check=False)
    assert refused.returncode != 0
    assert executed(refused) <= {"check"}
    assert said in refused.stdout + refused.stderr
    assert project.results() == before
    assert project.experiments() == []
    project.run("git", "checkout", "-q", "params.yaml")
    assert project.run("git", "show", "HEAD:params.yaml").stdout == (project.root / "params.yaml").read_text()


def clone_of(project: Project, folder: Path) -> Project:
    """A fresh clone of the project, and a remote that holds all its results."""
    remote = folder / "remote"
    project.run("dvc", "remote", "add", "-q", "--local", "-f", "-d", "full", str(remote))
    project.run("dvc", "push", "-q")
    project.run("git", "clone", "-q", str(project.root), str(folder / "clone"))
    clone = Project(folder / "clone", project.python)
    clone.run("dvc", "remote", "add", "-q", "--local", "-d", "full", str(remote))
    return clone


def test_a_fresh_clone_makes_what_is_committed_and_nothing_runs_after_it(project: Project, tmp_path: Path) -> None:
    """On the machine that made the lock, `git status` is clean after a full run from an empty cache."""
    clone = clone_of(project, tmp_path)
    clone.run("dvc", "pull", "-q", "data")
    assert clone.repro() == {"check", "prepare"} | lane("frames")
    assert clone.run("git", "status", "--porcelain").stdout == ""
    clone.run("git", "checkout", "-q", ".")
    assert clone.repro() == set()


def test_a_fresh_clone_pulls_everything(project: Project, tmp_path: Path) -> None:
    """Also where `joint` was never run."""
    clone = clone_of(project, tmp_path)
    clone.run("dvc", "pull", "-q")
    assert clone.run("dvc", "status").stdout.strip() == "Data and pipelines are up to date."


def test_a_fresh_clone_pulls_results_that_a_parameter_does_not_affect(project: Project, tmp_path: Path) -> None:
    clone = clone_of(project, tmp_path)
    done = clone.run("dvc", "exp", "run", "--pull", "-S", "crp.weight=0.5")
    assert executed(done) - {"check"} == lane("train", since=2)
    assert len(clone.experiments()) == 1


def test_a_fresh_clone_pulls_results_that_edited_code_does_not_affect(project: Project, tmp_path: Path) -> None:
    clone = clone_of(project, tmp_path)
    edit_evaluation(clone, "pull")
    assert executed(clone.run("dvc", "exp", "run", "--pull")) == {"check"} | every("evaluate")
