import csv
import hashlib
import io
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from codemap import ROOT
from dvc.utils.serialize import load_yaml as load_dvc_file
from scipy import stats
from typer.testing import CliRunner

from structalign.cli.compare import app
from structalign.cli.migrate import migrate
from structalign.errors import UserError
from structalign.params import former
from structalign.params.losses import Losses, acting
from structalign.params.schema import validate
from structalign.report.compare import (
    Run,
    choose_baseline,
    difference,
    group_runs,
)
from structalign.report.compare_tables import compare_tables, csv_text, html
from structalign.report.revisions import _without_repeated_joint, read_runs, task_list
from structalign.report.staleness import made_of_other, outdated, task_of_other_losses
from structalign.report.text_table import markdown
from structalign.store import json_text
from structalign.strict_yaml import load_yaml

OLD = Path(__file__).parent / "fixtures/a1d4c6b"  # with `.txt` DVC does not read these files


def run(
    method: str,
    seed: int,
    recall: float | None,
    name: str = "",
    crp: float = 10,
    tasks: str = "5 (a)",
    data: str = "3021d7",
) -> Run:
    flat = {"method.name": method, "crp.weight": crp, "tasks": tasks, "data": data}
    metrics = {"R@1": recall, "BWF_seen": 2.0}
    return Run(name or f"{method}-{seed}", seed, flat, metrics, {"seconds": 10.0 + seed, "trained_parameters": 7})


RUNS = [
    *(run("structalign", seed, recall) for seed, recall in enumerate([30.0, 34.0, 32.0])),
    *(run("finetune", seed, recall) for seed, recall in enumerate([27.0, 29.0, 31.0])),
]


def test_runs_are_grouped_by_everything_but_the_seed() -> None:
    groups, notes = group_runs([*RUNS, run("structalign", 0, 20.0, crp=0.5)])
    assert [(g.label, len(g.runs)) for g in groups] == [
        ("structalign, crp.weight=10", 3),
        ("finetune", 3),
        ("structalign, crp.weight=0.5", 1),
    ]
    assert notes == []


@pytest.mark.parametrize("key", ["ranking.task_prior", "ranking.word_prior"])
def test_a_method_that_ranks_with_a_prior_says_so_even_alone(key: str) -> None:
    helped = run("vr_lwf", 0, 39.0)
    helped = replace(helped, params={**helped.params, key: 0.1})
    without = [replace(r, params={**r.params, key: 0}) for r in RUNS]
    labels = [group.label for group in group_runs([*without, helped])[0]]
    assert labels == ["structalign", "finetune", f"vr_lwf, {key}=0.1"]


def test_runs_of_other_tasks_are_another_group() -> None:
    groups, notes = group_runs([*RUNS, run("structalign", 0, 20.0, tasks="10 (b)")])
    assert [(g.label, len(g.runs)) for g in groups] == [
        ("structalign, tasks=5 (a)", 3),
        ("finetune", 3),
        ("structalign, tasks=10 (b)", 1),
    ]
    assert len(notes) == 1
    assert "only rows with equal `data` and `tasks` are compared" in notes[0]


def test_runs_on_other_videos_are_another_group_without_a_difference() -> None:
    (ours, theirs, other), notes = group_runs([*RUNS, run("finetune", 0, 20.0, data="ffffff")])
    assert (theirs.label, other.label) == ("finetune, data=3021d7", "finetune, data=ffffff")
    assert difference(ours, other, "R@1") is None
    assert "`data` is the beginning of data.dvc's hash" in notes[0]


def test_every_ablation_is_named_by_the_settings_it_changes() -> None:
    default = run("structalign", 0, 30.0)
    default = replace(default, params={**default.params, "etf.weight": 1})
    given = [replace(default, params={**default.params, key: 0}) for key in ("crp.weight", "etf.weight")]
    assert [group.label for group in group_runs([default, *given])[0]] == [
        "structalign",
        "structalign, crp.weight=0",
        "structalign, etf.weight=0",
    ]


def test_runs_of_other_tasks_have_no_paired_difference() -> None:
    (ours, theirs), _ = group_runs([run("structalign", 0, 20.0, tasks="10 (b)"), run("finetune", 0, 20.0)])
    assert difference(ours, theirs, "R@1") is None


def test_a_task_list_is_identified_by_its_length_order_and_cuts() -> None:
    lists = [[["a", "b"], ["c"]], [["b", "a"], ["c"]], [["a"], ["b", "c"]], [["a"], ["b"], ["c"]]]
    told = [task_list(categories) for categories in lists]
    assert [text.split(" ")[0] for text in told] == ["2", "2", "2", "3"]
    assert len(set(told)) == 4


def test_results_of_another_tasks_file_are_noticed() -> None:
    lock = {"stages": {"prepare": {"deps": [{"path": "data", "md5": "0.dir"}, {"path": "tasks.yaml", "md5": "1"}]}}}
    assert made_of_other({"tasks.yaml": "1", "data": "0.dir"}, lock, "prepare") is None
    assert made_of_other({"tasks.yaml": "2", "data": "0.dir"}, lock, "prepare") == "tasks.yaml"
    assert made_of_other({"tasks.yaml": "1", "data": "5.dir"}, lock, "prepare") == "data"


def test_a_lock_without_the_stage_is_ignored() -> None:
    assert made_of_other({"tasks.yaml": "1"}, None, "prepare") is None


def test_a_group_shows_mean_and_sample_deviation() -> None:
    groups, _ = group_runs(RUNS)
    assert groups[0].spread("R@1") == pytest.approx((32.0, 2.0))
    assert group_runs(RUNS[:1])[0][0].spread("R@1") == (30.0, None)
    assert groups[0].spread("MedR") is None


def test_the_paired_interval_is_that_of_a_paired_t_test() -> None:
    (ours, theirs), _ = group_runs(RUNS)
    gap = difference(ours, theirs, "R@1")
    interval = stats.ttest_rel([30.0, 34.0, 32.0], [27.0, 29.0, 31.0]).confidence_interval(0.95)
    assert gap is not None
    assert (gap.seeds, gap.mean) == (3, 3.0)
    assert (gap.low, gap.high) == pytest.approx((interval.low, interval.high))


def test_only_shared_seeds_are_paired() -> None:
    (ours, theirs), _ = group_runs([*RUNS[:3], RUNS[4]])
    gap = difference(ours, theirs, "R@1")
    assert gap is not None
    assert (gap.seeds, gap.mean, gap.low) == (1, 5.0, None)


def test_without_shared_seeds_there_is_no_difference() -> None:
    (ours, theirs), _ = group_runs([RUNS[0], RUNS[4]])
    assert difference(ours, theirs, "R@1") is None


def test_a_run_that_repeats_another_counts_once() -> None:
    groups, notes = group_runs([*RUNS, run("structalign", 0, 30.0, name="workspace")])
    assert len(groups[0].runs) == 3
    assert notes == []


def test_different_numbers_with_equal_parameters_are_left_out_with_a_note() -> None:
    groups, notes = group_runs([*RUNS, run("structalign", 0, 99.0, name="old-code")])
    assert groups[0].spread("R@1") == pytest.approx((32.0, 2.0))
    assert len(notes) == 1
    assert "old-code" in notes[0]


def test_the_baseline_is_finetune_unless_named() -> None:
    groups, _ = group_runs(RUNS)
    assert choose_baseline(groups, None).label == "finetune"
    assert choose_baseline(groups, "structalign").label == "structalign"
    assert choose_baseline(groups[:1], None).label == "structalign"
    with pytest.raises(UserError, match="structalign; finetune"):
        choose_baseline(groups, "fintune")


def test_joint_results_that_a_parameter_never_touched_are_one_run() -> None:
    runs = [run("joint", 0, 40.0), run("joint", 0, 40.0, crp=0.5), run("joint", 1, 41.0)]
    assert len(_without_repeated_joint(runs)) == 2
    assert len(_without_repeated_joint([*runs, run("joint", 0, 40.0, tasks="10 (b)")])) == 3


LOCK = {
    "stages": {
        "train@t01": {"params": {"params.yaml": {"seed": 0, "optim.first": {"lr": 0.1}}}},
        "train@t09": {"params": {"params.yaml": {"seed": 9}}},
        "report": {},
    }
}


def test_results_of_other_parameters_are_noticed() -> None:
    assert outdated({"seed": 0, "optim": {"first": {"lr": 0.1}}}, LOCK, ["t01"]) is None
    assert outdated({"seed": 0, "optim": {"first": {"lr": 0.2}}}, LOCK, ["t01"]) == "optim.first.lr"
    assert outdated({"seed": 0, "optim": {"first": {"lr": 0.1}}}, LOCK, ["t01", "t09"]) == "seed"


def losses_lock(*tasks: str, of: Losses) -> dict[str, Any]:
    """A lock in which each task was trained with the losses `of`."""
    stages = {}
    for number, task in enumerate(tasks, start=1):
        md5 = hashlib.md5(json_text(acting(of, number)).encode(), usedforsecurity=False).hexdigest()
        stages[f"train@{task}"] = {"deps": [{"path": f"work/losses/{task}.json", "md5": md5}]}
    return {"stages": stages}


def test_results_of_other_losses_are_noticed() -> None:
    params = load_yaml(ROOT / "params.yaml")
    lock = losses_lock("t01", "t02", of=validate(params))
    assert task_of_other_losses(params, lock, ["t01", "t02"]) is None
    params["crp"]["weight"] += 1
    assert task_of_other_losses(params, lock, ["t01", "t02"]) == "t02"
    assert task_of_other_losses(params, lock, ["t01"]) is None
    params["etf"]["weight"] += 1
    assert task_of_other_losses(params, lock, ["t01", "t02"]) == "t01"


def test_losses_are_not_compared_with_params_or_a_lock_of_another_version() -> None:
    params = load_yaml(ROOT / "params.yaml")
    lock = losses_lock("t01", of=validate(params))
    assert task_of_other_losses(params, LOCK, ["t01"]) is None
    assert task_of_other_losses(params, None, ["t01"]) is None
    assert task_of_other_losses({**params, "crp": {"weight": 2}}, lock, ["t01"]) is None


def test_tables_have_the_same_numbers_in_every_format() -> None:
    groups, _ = group_runs(RUNS)
    tables = compare_tables(groups, groups[1])
    assert "32.0 ± 2.0" in markdown(tables[0])
    assert "+3.0 [-2.0, +8.0]" in markdown(tables[1])
    assert "32.0 ± 2.0" in html(tables)
    first = next(csv.DictReader(io.StringIO(csv_text(groups, groups[1]))))
    assert (first["group"], first["n"], float(first["R@1_mean"]), float(first["R@1_difference"])) == (
        "structalign",
        "3",
        32.0,
        3.0,
    )
    assert float(first["seconds"]) == 11.0


def test_a_single_group_has_no_difference_column() -> None:
    groups, _ = group_runs([run("structalign", 0, 30.0), run("structalign", 1, 32.0)])
    _, cost = compare_tables(groups, groups[0])
    assert (cost.title, cost.rows) == ("Cost", [["structalign", "7", "–", "10", "–"]])


def test_markup_in_a_label_is_escaped_in_html() -> None:
    groups, _ = group_runs([run("<b>", 0, 1.0)])
    assert "<b>" not in html(compare_tables(groups, groups[0])).split("<body>")[1].replace("<body>", "")


def call(*words: str) -> None:
    identity = ("-c", "user.name=test", "-c", "user.email=test@example.org")
    subprocess.run([words[0], *identity, *words[1:]], check=True, capture_output=True)


@pytest.fixture
def old_and_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A git and DVC repository with results. Its first commit is of revision a1d4c6b, and its second is migrated."""
    monkeypatch.chdir(tmp_path)
    for name in ("params.yaml", "tasks.yaml", "dvc.yaml", "dvc.lock", "data.dvc"):
        source = OLD / name if (OLD / name).exists() else OLD / f"{name}.txt"
        Path(name).write_bytes(source.read_bytes())
    Path(".dvc").mkdir()
    Path(".dvc/config").touch()
    Path("reports").mkdir()
    Path("reports/metrics.json").write_bytes((OLD / "metrics.json").read_bytes())
    call("git", "init", "-q")
    call("git", "add", "-A")
    call("git", "commit", "-qm", "a1d4c6b")
    migrate()
    Path("dvc.yaml").write_bytes((ROOT / "dvc.yaml").read_bytes())
    Path("dvc.lock").unlink()  # as after `dvc repro`: the lock agrees with params.yaml
    params = Path("params.yaml").read_text(encoding="utf-8").replace("seed: 0 ", "seed: 1 ", 1)
    Path("params.yaml").write_text(params, encoding="utf-8")
    Path("reports/metrics.json").write_text('{"R@1": 40.125}', encoding="utf-8")
    call("git", "commit", "-qam", "migrated")
    return tmp_path


def test_an_older_revision_and_a_migrated_one_are_seeds_of_one_group(old_and_new: Path) -> None:
    runs, _ = read_runs(["HEAD~1", "HEAD"])
    groups, notes = group_runs(runs)
    assert notes == []
    assert [[(run.seed, run.metrics["R@1"]) for run in group.runs] for group in groups] == [[(0, 38.125), (1, 40.125)]]
    assert groups[0].label == "structalign, ranking.task_prior=0.1"
    assert groups[0].runs[0].params["etf.vertices"] == "exact"
    assert not [key for key in groups[0].runs[0].params if former.explain(key)]


def test_results_in_head_that_are_stale_are_left_out_with_a_note(old_and_new: Path) -> None:
    call("git", "checkout", "-q", "HEAD~1")
    edited = Path("params.yaml").read_text(encoding="utf-8").replace("seed: 0 ", "seed: 3 ", 1)
    kept = Path("params.yaml").read_bytes()
    Path("params.yaml").write_text(edited, encoding="utf-8")
    call("git", "commit", "-qam", "stale")
    Path("params.yaml").write_bytes(kept)
    runs, notes = read_runs([])
    assert [run.name for run in runs] == ["workspace"]
    assert len(notes) == 1
    assert notes[0].startswith("HEAD has another `seed`")


def test_a_head_without_results_needs_no_note(old_and_new: Path) -> None:
    call("git", "rm", "-q", "--cached", "reports/metrics.json")
    call("git", "commit", "-qm", "no results")
    assert read_runs([])[1] == []


def test_a_revision_whose_pipeline_and_tasks_are_of_two_versions_is_refused(old_and_new: Path) -> None:
    call("git", "checkout", "-q", "HEAD~1", "--", "dvc.yaml")
    with pytest.raises(UserError, match=r"workspace can't be read .*item.crp.*correct its dvc.yaml"):
        read_runs(["workspace"])


def test_a_table_of_old_and_new_is_printed(old_and_new: Path) -> None:
    printed = CliRunner().invoke(app, ["HEAD~1", "HEAD", "--csv"])
    rows = list(csv.DictReader(io.StringIO(printed.stdout)))
    assert [(row["n"], row["R@1_mean"]) for row in rows] == [("2", "39.125")]


@pytest.mark.parametrize(
    ("key", "edit"),
    [
        ("contrastive.prior", ("  prior: 0 ", "  prior: 1 ")),
        ("expected.categories", ("categories: none", "categories: 9")),
    ],
)
def test_an_old_revision_with_params_of_other_results_is_noticed(
    key: str, edit: tuple[str, str], old_and_new: Path
) -> None:
    call("git", "checkout", "-q", "HEAD~1")
    params = Path("params.yaml")
    params.write_text(params.read_text(encoding="utf-8").replace(*edit), encoding="utf-8")
    with pytest.raises(UserError, match=f"workspace has another `{key}` in params.yaml"):
        read_runs(["workspace"])


def test_results_from_before_a_migration_fit_the_migrated_params(old_and_new: Path) -> None:
    lock = load_dvc_file(str(OLD / "dvc.lock.txt"))
    params = load_yaml(Path("params.yaml"))
    tasks = [f"t{number:02d}" for number in range(1, 6)]
    assert outdated({**params, "seed": 0}, lock, tasks) is None
    assert (
        outdated({**params, "seed": 0, "etf": {**params["etf"], "vertices": "gaussian"}}, lock, tasks) == "etf.vertices"
    )


STAGE = """
import json, pathlib, yaml
params = yaml.safe_load(open("params.yaml"))
recall = {"structalign": 30.0, "finetune": 27.0}[params["method"]["name"]] + params["seed"]
pathlib.Path("reports/joint").mkdir(parents=True, exist_ok=True)
json.dump({"R@1": recall}, open("reports/metrics.json", "w"))
json.dump({"stages": {"train": {"seconds": 3.0}, "embed": {"seconds": 2.0}}}, open("reports/costs.json", "w"))
"""
PIPELINE = """
stages:
  report:
    cmd: {python} stage.py
    params: [seed, method.name]
    metrics: [reports/metrics.json: {{cache: false}}]
    outs: [reports/costs.json: {{cache: false}}]
"""
NOT_RUN = "stages: {joint: {wdir: .., cmd: 'true', outs: [reports/joint/metrics.json]}}"


@pytest.mark.slow
def test_experiments_are_read_through_dvc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for key in ("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL"):
        monkeypatch.setenv(key, "tester@example.org")

    def call(*words: str) -> None:
        subprocess.run(words, check=True, capture_output=True)

    dvc = (sys.executable, "-m", "dvc")
    call("git", "init", "-q")
    call(*dvc, "init", "-q")
    call(*dvc, "config", "core.analytics", "false")
    Path("stage.py").write_text(STAGE)
    Path("dvc.yaml").write_text(PIPELINE.format(python=sys.executable))
    Path("joint").mkdir()
    Path("joint/dvc.yaml").write_text(NOT_RUN)
    Path("params.yaml").write_text("seed: 0\nmethod:\n  name: structalign\n")
    call("git", "add", "-A")
    call("git", "commit", "-qm", "start")
    call(*dvc, "repro")
    call("git", "add", "-A")
    call("git", "commit", "-qm", "results")
    call(*dvc, "exp", "run", "-n", "tuned", "-S", "method.name=finetune")
    call(*dvc, "exp", "run", "-n", "other-seed", "-S", "method.name=finetune", "-S", "seed=1")

    runs, notes = read_runs([])
    assert {(r.name, r.method, r.seed, r.metrics["R@1"], r.costs["seconds"]) for r in runs} == {
        ("tuned", "finetune", 0, 27.0, 5.0),
        ("other-seed", "finetune", 1, 28.0, 5.0),
        ("workspace", "finetune", 1, 28.0, 5.0),
        ("HEAD", "structalign", 0, 30.0, 5.0),
    }
    assert notes == []
    assert [(g.label, len(g.runs)) for g in group_runs(runs)[0]] == [("finetune", 2), ("structalign", 1)]

    Path("reports/joint").mkdir(exist_ok=True)
    Path("reports/joint/metrics.json").write_text(json.dumps({"R@1": 50.0}))
    named, _ = read_runs(["tuned", "workspace"])
    assert [(r.name, r.method) for r in named][-1] == ("workspace (joint)", "joint")

    Path("tasks.yaml").write_text("tasks: {t01: {categories: [cats]}}\n")
    assert {r.params["tasks"] for r in read_runs(["tuned", "workspace"])[0]} == {task_list([]), task_list([["cats"]])}
    Path("tasks.yaml").unlink()

    Path("params.yaml").write_text("seed: 2\nmethod:\n  name: finetune\n")
    _, notes = read_runs([])
    assert len(notes) == 1
    assert "another `seed`" in notes[0]

    Path("params.yaml").write_text("seed: 010\nmethod:\n  name: finetune\n")
    with pytest.raises(UserError, match=r"workspace:params\.yaml, line 1: `seed` = 010"):
        read_runs(["workspace"])
    Path("params.yaml").write_text("seed: 2\nmethod:\n  name: finetune\n")

    printed = CliRunner().invoke(app, ["tuned", "other-seed", "--csv"])
    rows = list(csv.DictReader(io.StringIO(printed.stdout)))
    assert [(row["group"], row["n"], row["R@1_mean"]) for row in rows] == [("finetune", "2", "27.5")]

    with pytest.raises(UserError, match="no revision 'nonsense'"):
        read_runs(["nonsense"])
    with pytest.raises(UserError, match=r"no reports/metrics\.json"):
        read_runs(["HEAD~1"])
