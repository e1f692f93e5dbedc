"""`structalign sweep` on a toy project gives DVC's numbers bit for bit, and resumes after a kill."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from codemap import ROOT
from safetensors.numpy import load_file
from toy import Project, make_project, quick_python

from structalign.evaluation.ranks import rank
from structalign.params.ranking import Ranking
from structalign.strict_yaml import load_yaml

pytestmark = pytest.mark.slow

TASKS = 3
COMMAND = [sys.executable, "-c", "from structalign.cli.app import main; main()", "sweep"]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "200", "HF_HUB_OFFLINE": "1"}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """The toy project after `dvc repro`."""
    with quick_python(tmp_path_factory.mktemp("python")) as python:
        made = Project(tmp_path_factory.mktemp("toy"), python)
        make_project(made, TASKS)
        made.repro()
        made.commit()
        yield made


def sweep(root: Path, text: str, *options: str) -> tuple[int, str]:
    """Write some.yaml and run its sweep. Returns the exit code and all output."""
    (root / "some.yaml").write_text(text, encoding="utf-8")
    done = subprocess.run(
        [*COMMAND, "some.yaml", *options], cwd=root, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


def kept(folder: Path) -> dict[str, dict[str, Any]]:
    """Every stored run, by its file."""
    return {file.name: json.loads(file.read_text()) for file in folder.glob("*.json")}


def read_csv(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def of_method(folder: Path, method: str) -> dict[str, Any]:
    """The only run of a method."""
    (found,) = (run for run in kept(folder).values() if run["method"] == method)
    return found


def scored(root: Path, task: str, split: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The queries after a task, and evaluate's ranks from embed's matrices."""
    about = json.loads((root / f"work/scores/{task}/{split}.json").read_text())
    column = {video["id"]: number for number, video in enumerate(about["videos"])}
    truth = np.array([column[query["video"]] for query in about["queries"]])
    ranking = Ranking.model_validate(load_yaml(root / "params.yaml")["ranking"])
    scores = load_file(root / f"work/scores/{task}/{split}.safetensors")
    return about["queries"], rank([scores], truth, [video["task"] for video in about["videos"]], ranking)


@pytest.mark.parametrize("split", ["val", "test"])
def test_a_run_gives_the_bits_of_the_pipeline(project: Project, split: str) -> None:
    text = f"seeds: [0]\nsplit: {split}\nmethods: {{structalign: , zero_shot: }}\n"
    code, said = sweep(project.root, text, "--out", split)
    assert code == 0, said
    run = of_method(project.root / split, "structalign")
    queries, ranks = scored(project.root, "t03", split)
    assert [run["videos"][video] for video in run["queries"]] == [query["video"] for query in queries]
    row = run["rows"]["structalign"]
    assert row["rank"] == ranks["method_text"].tolist()
    assert row["rank in task"] == ranks["method_task"].tolist()
    assert row["v2t rank"] == ranks["method_video"].tolist()
    learned: dict[str, list[int]] = {"text": [], "task": []}
    for number in range(1, TASKS + 1):
        then, found = scored(project.root, f"t{number:02d}", split)
        own = [position for position, query in enumerate(then) if query["task"] == f"t{number:02d}"]
        for kind, values in learned.items():
            values += found[f"method_{kind}"][own].tolist()
    assert row["learned rank"] == learned["text"]
    assert row["learned rank in task"] == learned["task"]
    zero_shot = of_method(project.root / split, "zero_shot")["rows"]
    assert zero_shot["zero_shot"]["rank"] == ranks["zero_shot_text"].tolist()
    assert zero_shot["zero_shot, sentence"]["rank"] == ranks["zero_shot_sentence"].tolist()


def test_further_rankings_are_those_of_other_parameters_and_have_their_own_table(project: Project) -> None:
    rankings = (
        "rankings:\n  no prior: {ranking.task_prior: 0, ranking.word_prior: 0}\n  words: {ranking.word_prior: 9}\n"
    )
    text = f"seeds: [0]\nsplit: test\n{rankings}methods: {{zero_shot: }}\n"
    code, said = sweep(project.root, text, "--out", "ranked", "--md")
    assert code == 0, said
    run = of_method(project.root / "ranked", "zero_shot")
    assert {*run["rows"]} == {"zero_shot", "zero_shot, sentence", "zero_shot, no prior", "zero_shot, words"}
    plain = text.replace(rankings, "settings: {ranking.task_prior: 0, ranking.word_prior: 0}\n")
    assert sweep(project.root, plain, "--out", "plain")[0] == 0
    assert run["rows"]["zero_shot, no prior"] == of_method(project.root / "plain", "zero_shot")["rows"]["zero_shot"]
    tables = {name: read_csv(project.root / f"ranked/{name}.csv") for name in ("results", "prior")}
    assert [row["method"] for row in tables["results"]] == ["zero_shot", "zero_shot, sentence"]
    assert [row["method"] for row in tables["prior"]] == ["zero_shot"]
    for row in tables["prior"]:
        found = of_method(project.root / "ranked", row["method"])["measures"]
        assert float(row["R@1 words"]) == pytest.approx(found[f"{row['method']}, words"]["R@1"])
        assert float(row["words_difference"]) == pytest.approx(float(row["R@1 words"]) - float(row["R@1"]))
        assert float(row["R@1 true task"]) == pytest.approx(found[row["method"]]["R@1 task"])
    assert "| true task |" in said
    assert not (project.root / "plain/prior.csv").exists()


def test_each_baseline_has_a_table_of_differences(project: Project) -> None:
    text = (
        'seeds: [0]\nsplit: test\nbaseline: [head_only, "zero_shot, sentence"]\nmethods: {zero_shot: , head_only: }\n'
    )
    code, said = sweep(project.root, text, "--out", "baselines", "--md")
    assert code == 0, said
    titles = [line for line in said.splitlines() if "Paired difference to" in line]
    assert [title.split(",")[0].split("to ")[1] for title in titles] == ["head_only", "zero_shot"]
    zero_shot, sentence, ours = read_csv(project.root / "baselines/results.csv")
    for row, column, other in (
        (zero_shot, "R@1 to head_only_difference", ours),
        (ours, "R@1 to zero_shot, sentence_difference", sentence),
    ):
        assert float(row[column]) == pytest.approx(float(row["R@1"]) - float(other["R@1"]))


def test_its_numbers_are_those_of_the_reports(project: Project) -> None:
    code, said = sweep(project.root, "seeds: [0]\nsplit: test\nmethods: {structalign: }\n", "--out", "test")
    assert code == 0, said
    run, metrics = of_method(project.root / "test", "structalign"), project.root / "reports/metrics.json"
    found, expected = run["measures"]["structalign"], json.loads(metrics.read_text())
    for name in ("R@1", "R@5", "R@10", "v2t_R@1", "BWF_seen", "BWF_task"):
        assert round(found[name.replace("_", " ")], 4) == expected[name]
    sizes = json.loads((project.root / "reports/per_task.json").read_text())["sizes"]
    assert {name: run[name] for name in sizes} == sizes


def test_joint_gives_the_numbers_of_stage_joint(project: Project) -> None:
    project.run("dvc", "exp", "run", "-S", "joint/on.yaml:joint=[all]", "joint/dvc.yaml")
    expected = json.loads((project.root / "reports/joint/metrics.json").read_text())
    project.run("git", "checkout", "-q", ".")
    code, said = sweep(project.root, "seeds: [0]\nsplit: test\nmethods: {joint: }\n", "--out", "joint-test")
    assert code == 0, said
    run = of_method(project.root / "joint-test", "joint")
    assert run["measures"]["joint"] == {
        "R@1": expected["R@1"],
        "R@5": expected["R@5"],
        "R@10": expected["R@10"],
        "v2t R@1": expected["v2t_R@1"],
        "R@1 task": run["measures"]["joint"]["R@1 task"],
    }
    assert run["trained_parameters"] == expected["sizes"]["trained_parameters"]


def test_val_reads_nothing_of_the_test_split(project: Project, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(project.root, copy, ignore=shutil.ignore_patterns(".dvc", ".git", "sweeps", "reports"))
    for folder in [*copy.glob("work/features/*/test"), *copy.glob("work/frames/*/test")]:
        shutil.rmtree(folder)
    text = "seeds: [0]\nsplit: val\nmethods: {structalign: }\n"
    code, said = sweep(copy, text)
    assert code == 0, said
    assert sweep(project.root, text, "--out", "val")[0] == 0
    runs = of_method(copy / "sweeps/some", "structalign"), of_method(project.root / "val", "structalign")
    assert runs[0]["rows"] == runs[1]["rows"]


def test_a_killed_sweep_only_loses_unfinished_runs(project: Project) -> None:
    out = project.root / "killed"
    text = "seeds: [0]\nsplit: val\nmethods:\n  zero_shot: {ranking.beta: [0.1, 0.2, 0.3]}\n"
    (project.root / "some.yaml").write_text(text, encoding="utf-8")
    command = [*COMMAND, "some.yaml", "--out", "killed", "--jobs", "1"]
    process = subprocess.Popen(command, cwd=project.root, env=ENVIRONMENT)
    while not kept(out):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    time.sleep(2)  # a run in flight ends with it
    first = {file.name: file.stat().st_mtime_ns for file in out.glob("*.json")}
    assert len(first) < 3
    assert sweep(project.root, text, "--out", "killed")[0] == 0
    again = {file.name: file.stat().st_mtime_ns for file in out.glob("*.json")}
    assert len(again) == 3
    assert {name: again[name] for name in first} == first
    assert not list(out.glob(".*"))


def test_a_run_of_other_data_or_of_a_damaged_file_is_made_again(project: Project, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(project.root, copy, ignore=shutil.ignore_patterns(".dvc", ".git", "reports"))
    text = "seeds: [0]\nsplit: val\nmethods: {zero_shot: }\n"
    assert sweep(copy, text)[0] == 0
    (file,) = (copy / "sweeps/some").glob("*.json")
    known = json.loads(file.read_text())["fingerprint"]
    file.write_text("{")
    assert sweep(copy, text)[0] == 0
    assert json.loads(file.read_text())["fingerprint"] == known
    seen = copy / "work/manifest/t01/seen.json"
    seen.write_text(seen.read_text().replace("clip 2", "film 2"))
    assert sweep(copy, text)[0] == 0
    assert json.loads(file.read_text())["fingerprint"] != known


def test_a_run_that_diverges_is_kept_and_the_others_go_on(project: Project) -> None:
    wild, calm = "{optim.*.lr: 100, optim.shared.weight_decay: 100000, optim.*.epochs: 20}", "{optim.*.lr: 1e-3}"
    text = f"seeds: [0]\nfinalists: 1\nsplit: val\nmethods:\n  finetune: [{wild}, {calm}]\n"
    code, said = sweep(project.root, text, "--out", "diverged", "--write-presets", "diverged/presets")
    assert code == 1
    assert "1 run failed" in said
    failed = [run["failed"] for run in kept(project.root / "diverged").values() if "failed" in run]
    assert len(failed) == 1
    assert "diverged" in failed[0]
    preset = load_yaml(project.root / "diverged/presets/finetune.yaml")
    assert preset == {
        "method": {"name": "finetune"},
        "optim": {"first": {"lr": 1e-3}, "later": {"lr": 1e-3}},
    }
    assert (project.root / "diverged/results.csv").read_text().count("\n") == 2


def test_frames_or_features_of_other_parameters_are_refused_with_the_command(project: Project) -> None:
    project.set("frames.per_video", 3)
    code, said = sweep(project.root, "seeds: [0]\nsplit: val\nmethods: {zero_shot: }\n")
    project.run("git", "checkout", "-q", "params.yaml")
    assert code == 1
    assert "frames@t01" in said
    assert "`structalign repro`" in said


def test_a_project_without_features_is_refused_with_the_command(tmp_path: Path, project: Project) -> None:
    for name in ("params.yaml", "tasks.yaml"):
        shutil.copy(project.root / name, tmp_path)
    code, said = sweep(tmp_path, "seeds: [0]\nsplit: val\nmethods: {zero_shot: }\n")
    assert code == 1
    assert "work/backbone does not exist" in said
    assert "`structalign repro`" in said
