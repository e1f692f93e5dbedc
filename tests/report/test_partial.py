"""A run without all videos is marked wherever its numbers are shown. Zero-shot CLIP is compared with the paper's."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from structalign.params.reference import Reference
from structalign.report.compare import Run, group_runs
from structalign.report.compare_tables import compare_tables, csv_text, html
from structalign.report.coverage import by_task, coverage, partial_label
from structalign.report.sanity_check import verdict
from structalign.report.text_table import markdown


def lose(root: Path, task: str, split: str) -> None:
    """One video of the table is missing."""
    path = root / "work/manifest/report.json"
    report = json.loads(path.read_text())
    report["there"][task][split] -= 1
    path.write_text(json.dumps(report))


def mend(root: Path) -> None:
    (root / "work/quarantine/t01.json").write_text('{"videos": []}')


def test_missing_and_broken_videos_are_counted_by_task_and_split() -> None:
    named = {"t01": {"train": 4, "test": 6}, "t02": {"train": 4, "test": 6}}
    there = {"t01": {"train": 4, "test": 5}, "t02": {"train": 4, "test": 6}}
    found = coverage(named, there, {"t01": [{"split": "train"}, {"split": "test"}], "t02": []})
    assert (partial_label(found), by_task(found)) == (
        "partial: 3 of 20 videos are missing or broken",
        "t01 1 train, 2 test",
    )


def test_a_partial_run_is_marked_wherever_its_numbers_are_shown(
    unfinished: Callable[[int], Path], finishing: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    root = unfinished(2)
    lose(root, "t02", "test")
    finishing(root)
    reports = root / "reports"
    assert "partial: 2 of 50 videos" in capsys.readouterr().out
    page = (reports / "index.html").read_text()
    assert "<b>Partial: 2 of 50 videos are missing or broken</b> (t01 1 train; t02 1 test)" in page
    assert json.loads((reports / "metrics.json").read_text())["partial"] is True
    lost = json.loads((reports / "per_task.json").read_text())["videos"]["tasks"]
    assert lost["t02"] == {"train": 0, "val": 0, "test": 1}
    with (reports / "per_task.csv").open() as stream:
        assert {row["partial"] for row in csv.DictReader(stream)} == {"1"}


def test_a_whole_run_is_not_marked(
    unfinished: Callable[[int], Path], finishing: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    root = unfinished(1)
    mend(root)
    finishing(root)
    assert "partial" not in capsys.readouterr().out
    assert "data-partial" not in (root / "reports/index.html").read_text()
    assert "partial" not in json.loads((root / "reports/metrics.json").read_text())


def test_compare_marks_a_group_with_a_partial_run_in_every_format() -> None:
    flat = {"method.name": "finetune"}
    runs = [Run(str(seed), seed, flat, {"R@1": 20.0 + seed, "partial": seed == 1}) for seed in (0, 1)]
    groups, _ = group_runs(runs)
    tables = compare_tables(groups, groups[0])
    for text in ("\n".join(map(markdown, tables)), html(tables), csv_text(groups, groups[0])):
        assert "finetune (partial)" in text


@pytest.mark.parametrize(
    ("found", "published", "says"),
    [
        (21.9, 22.14, "zero-shot 21.90, published 22.14: frames and split look right"),
        (23.1, 22.14, "zero-shot 23.10, published 22.14: frames and split look right"),
        (20.0, 22.14, "more than 1 point apart, so check frames, split and backbone before you train"),
        (24.0, 22.14, "more than 1 point apart"),
    ],
)
def test_frozen_clip_is_compared_with_the_published_result(found: float, published: float, says: str) -> None:
    assert says in verdict(found, 20, Reference(zero_shot=published, categories=20))


@pytest.mark.parametrize(
    "reference", [Reference(zero_shot="none", categories="none"), Reference(zero_shot=22, categories=20)]
)
def test_without_a_published_result_for_these_categories_nothing_is_compared(reference: Reference) -> None:
    assert verdict(21.9, 18, reference) == ""


def test_evaluate_compares_frozen_clip_by_the_sentence_once_all_categories_are_seen(
    unfinished: Callable[[int], Path], finishing: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    root = unfinished(2)
    params = root / "params.yaml"
    text = params.read_text().replace("zero_shot: none", "zero_shot: 99.5")
    params.write_text(text.replace("categories: none", "categories: 4"))
    finishing(root)
    sentence = load_file(root / "work/scores/t02/test.safetensors")["zero_shot.sentence"]
    right = np.argmax(sentence, axis=1) == np.repeat(np.arange(sentence.shape[1]), 2)
    said = f"zero-shot {100 * right.mean():.2f}, published 99.50: more than 1 point apart"
    assert capsys.readouterr().out.count(said) == 1
    assert said.capitalize() in (root / "reports/index.html").read_text()
    assert json.loads((root / "reports/eval/t01.json").read_text())["sanity_check"] == ""
