import csv
import json
import re
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from safetensors.numpy import load_file, save_file

from structalign.errors import UserError
from structalign.evaluation.metrics import METRICS
from structalign.report.charts import Line, line_chart
from structalign.report.page import _task_curves
from structalign.report.plots import read_gradients, read_losses, thin
from structalign.store import write_json
from structalign.strict_yaml import load_yaml

KEYS = {
    *METRICS,
    *("R@1_avg", "v2t_R@1", "BWF_seen", "BWF_task"),
    *("zero_shot_R@1", "zero_shot_BWF_seen", "val_R@1", "val_BWF_seen"),
}


def test_metrics_are_flat_with_exactly_the_promised_keys(finished: Path) -> None:
    metrics = json.loads((finished / "reports/metrics.json").read_text())
    assert metrics.pop("partial")  # the finished run lacks a video
    assert set(metrics) == KEYS
    assert all(isinstance(value, float) for value in metrics.values())
    assert not any("." in key for key in metrics)


def test_the_csv_holds_both_whole_accuracy_matrices_of_both_splits(finished: Path) -> None:
    with (finished / "reports/per_task.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    for split in ("test", "val"):
        for row in ("method", "zero_shot"):
            for gallery in ("seen", "task"):
                matrix = {
                    (r["after"], r["task"])
                    for r in rows
                    if (r["split"], r["row"], r["gallery"]) == (split, row, gallery)
                    and (r["direction"], r["metric"]) == ("t2v", "R@1")
                }
                assert matrix == {
                    *(("t01", "t01"), ("t02", "t01"), ("t02", "t02")),
                    *(("t03", "t01"), ("t03", "t02"), ("t03", "t03")),
                }


def test_per_task_json_and_csv_agree(finished: Path) -> None:
    table = json.loads((finished / "reports/per_task.json").read_text())
    with (finished / "reports/per_task.csv").open() as stream:
        for row in csv.DictReader(stream):
            found = table[row["split"]][row["row"]]
            if row["gallery"] == "task":
                value = found["acc_task"][row["after"]][row["task"]]
            else:
                value = found[f"{row['direction']}_per_task"][row["after"]][row["task"]][row["metric"]]
            assert float(row["value"]) == value


def test_geometry_is_reported_for_every_time_and_task(finished: Path) -> None:
    found = json.loads((finished / "reports/geometry.json").read_text())
    assert set(found["test"]["collapse"]) == set(found["test"]["gap"]) == {"t01", "t02", "t03"}
    assert set(found["test"]["text_drift"]["t03"]) == {"t01", "t02", "t03"}


def test_a_split_without_queries_has_no_geometry(finished: Path) -> None:
    assert json.loads((finished / "reports/geometry.json").read_text())["val"]["gap"] == {}


def test_the_page_draws_the_geometry(finished: Path) -> None:
    page = (finished / "reports/index.html").read_text()
    assert page.count("<h3>NC") == 4
    assert "<h3>Drift away from own videos, °</h3>" in page


def test_the_page_names_the_videos_left_out_and_why(finished: Path) -> None:
    page = (finished / "reports/index.html").read_text()
    assert "gone.mp4 <span>(captions.csv, rows 7, 8): the file is missing</span>" in page
    assert "x.mp4 <span>(train): no video stream</span>" in page


def test_the_page_names_the_damaged_videos_that_took_part(
    unfinished: Callable[[int], Path], finishing: Callable[[Path], None]
) -> None:
    root = unfinished(1)
    damaged = {"id": "y.mp4", "file": "y.mp4", "split": "test", "reason": "its header declares <b>9 s</b>"}
    write_json(root / "work/quarantine/t01.json", {"videos": [], "damaged": [damaged]})
    finishing(root)
    page = (root / "reports/index.html").read_text()
    assert "1 damaged video was used" in page
    assert "y.mp4 <span>(test): its header declares &lt;b&gt;9 s&lt;/b&gt;</span>" in page


def test_the_page_says_that_nothing_was_left_out_only_if_that_is_so(
    unfinished: Callable[[int], Path], finishing: Callable[[Path], None]
) -> None:
    root = unfinished(1)
    write_json(root / "work/quarantine/t01.json", {"videos": []})
    finishing(root)
    assert "all videos of the captions table were used" not in (root / "reports/index.html").read_text()
    manifest = json.loads((root / "work/manifest/report.json").read_text())
    write_json(root / "work/manifest/report.json", manifest | {"skipped": []})
    finishing(root)
    assert "all videos of the captions table were used" in (root / "reports/index.html").read_text()


def test_the_page_says_which_model_and_which_signals_it_shows(finished: Path) -> None:
    page = (finished / "reports/index.html").read_text()
    said = re.sub(r"\s+", " ", page.partition("data-settings>")[2].partition("</p>")[0])
    params = load_yaml(finished / "params.yaml")
    for fact in (params["backbone"]["name"], f"{params['frames']['size']} pixels", "0.5 × words", "0.5 × sentence"):
        assert fact in said
    assert "task prior" not in said  # weight 0


def test_recall_is_shown_with_its_interval(finished: Path) -> None:
    row = json.loads((finished / "reports/per_task.json").read_text())["test"]["method"]
    low, high = row["t2v_interval"]["t03"]
    assert low < row["t2v"]["t03"]["R@1"] < high
    assert (finished / "reports/index.html").read_text().count(f"{low:.1f}–{high:.1f}") >= 2


def test_left_out_videos_are_unfolded_and_the_geometry_is_folded_after_the_examples(finished: Path) -> None:
    page = (finished / "reports/index.html").read_text()
    assert "<details open><summary data-left-out" in page
    folded = page.index('<details><summary><h2 style="display:inline">Geometry')
    assert page.index("Queries lost") < folded < page.index("<h2>Training")


def test_every_thumbnail_has_its_file_s_name(finished: Path) -> None:
    page = (finished / "reports/index.html").read_text()
    shown = re.findall(r"<figcaption>(?:right|\d)<br>(\d+\.mp4)</figcaption>", page)
    assert len(shown) == page.count("<img ")


@pytest.mark.parametrize("tasks", [1, 2, 20])
def test_the_page_shows_all_charts_that_its_number_of_tasks_allows(run_of: Callable[[int], Path], tasks: int) -> None:
    page = (run_of(tasks) / "reports/index.html").read_text()
    assert ("<h2>Over time" in page) == ("heatmap" in page.partition("</style>")[2]) == (tasks > 1)
    legend = re.findall(r"</svg>(t\d\d)</li>", page.partition("R@1 of each task")[2].partition("</figure>")[0])
    assert legend == ([f"t{number:02d}" for number in range(1, tasks + 1)] if tasks > 1 else [])


def test_the_legend_shows_the_dashes_of_the_curves(run_of: Callable[[int], Path]) -> None:
    page = (run_of(4) / "reports/index.html").read_text()
    figure = page.partition("R@1 of each task’s queries")[2].partition("</figure>")[0]
    chart, _, legend = figure.partition('<ul class="legend">')
    curves = re.findall(r"style=\"fill: none;(?: stroke-dasharray: ([\d.,]+);)?[^\"]*stroke: oklch", chart)
    marks = re.findall(r"<path d=\"M0 3h28\"[^>]*?(?:stroke-dasharray=\"([\d.,]+)\")?/>", legend)
    assert len(marks) == 4
    assert [[round(float(x), 1) for x in dash.split(",") if x] for dash in curves] == [
        [float(x) for x in dash.split(",") if x] for dash in marks
    ]


def test_an_axis_has_round_ticks() -> None:
    chart = line_chart([Line("a", "red", [(1, 0.0), (2, 24.0), (3, 31.0)])], "x", "title", percent=True)
    assert [float(tick) for tick in re.findall(r">(\d+)</text>", chart)][-4:] == [0, 10, 20, 30]


def test_a_single_caption_makes_a_sensible_page(
    unfinished: Callable[[int], Path], finishing: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    root = unfinished(1)
    for path in (root / "work/scores/t01").glob("*.safetensors"):
        save_file({name: values[:1, :1] for name, values in load_file(path).items()}, path)
        rows = json.loads(path.with_suffix(".json").read_text())
        write_json(path.with_suffix(".json"), rows | {name: rows[name][:1] for name in ("queries", "videos")})
    finishing(root)
    page = (root / "reports/index.html").read_text()
    assert "<b>1</b> test caption ranks" in page
    assert "95 % interval" not in page
    assert "1 test caption: one more caption found adds 100.0 points" in capsys.readouterr().out


def test_head_and_tail_average_to_the_whole(finished: Path) -> None:
    """Both halves have as many queries here."""
    row = json.loads((finished / "reports/per_task.json").read_text())["test"]["method"]
    for after, parts in row["head_tail"].items():
        assert (parts["head"] + parts["tail"]) / 2 == pytest.approx(row["t2v"][after]["R@1"])


def test_the_last_tasks_sizes_are_reported(finished: Path) -> None:
    sizes = json.loads((finished / "reports/per_task.json").read_text())["sizes"]
    assert sizes == {"trained_parameters": 123_456, "stored_bytes_per_video": 4096}
    page = (finished / "reports/index.html").read_text()
    assert "123,456" in page
    assert "4.1 kB" in page


def test_reports_only_have_significant_digits(finished: Path) -> None:
    geometry = json.loads((finished / "reports/geometry.json").read_text())["test"]
    drift = geometry["text_drift"]["t03"]["t01"]
    assert drift == round(drift, 1)
    assert geometry["gap"]["t01"] == float(f"{geometry['gap']['t01']:.3g}")
    losses = json.loads((finished / "reports/plots/losses.json").read_text())
    assert all(row["value"] == float(f"{row['value']:.4g}") for row in losses)


def test_plot_records_have_a_numeric_x(finished: Path) -> None:
    folder = finished / "reports/plots"
    for name, x, y in (("recall", "after", "R@1"), ("heatmap", "after", "R@1"), ("losses", "step", "value")):
        records = json.loads((folder / f"{name}.json").read_text())
        assert records
        assert all(isinstance(row[x], int) and isinstance(row[y], float) for row in records)


def test_losses_keep_their_names_and_continue_over_tasks(finished: Path) -> None:
    records = read_losses({task: finished / f"work/logs/{task}.jsonl" for task in ("t01", "t02")})
    assert {row["loss"] for row in records if row["task"] == "t01"} == {"loss", "contrastive", "etf"}
    assert {row["loss"] for row in records if row["task"] == "t02"} == {"loss", "contrastive", "etf", "crp", "pseudo"}
    assert max(row["step"] for row in records if row["task"] == "t01") == 149
    assert max(row["step"] for row in records if row["task"] == "t02") == 299


def test_the_gradients_of_losses_are_no_losses(finished: Path) -> None:
    logs = {task: finished / f"work/logs/{task}.jsonl" for task in ("t01", "t02")}
    found = read_gradients(logs)
    assert {row["loss"] for row in found} == {"share_contrastive", "share_etf", "angle_etf"}
    assert [row["step"] for row in found if row["loss"] == "angle_etf"] == [*range(0, 150, 20), *range(150, 300, 20)]


def test_the_page_draws_the_gradient_of_each_loss(finished: Path) -> None:
    page = (finished / "reports/index.html").read_text(encoding="utf-8")
    assert "Gradients of the losses" in page
    assert 'aria-label="Share of the gradient"' in page


def test_an_empty_log_has_no_losses(tmp_path: Path) -> None:
    (tmp_path / "t01.jsonl").touch()
    assert read_losses({"t01": tmp_path / "t01.jsonl"}) == []


def test_thinning_keeps_the_mean_and_the_last_step() -> None:
    points = [(step, float(step)) for step in range(1000)]
    thinned = list(thin(points, most=100))
    assert len(thinned) == 100
    assert thinned[-1][0] == 999
    assert sum(value for _, value in thinned) / 100 == pytest.approx(499.5)


def test_a_run_of_one_task_reports_no_forgetting_and_says_so(
    run_of: Callable[[int], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    root = run_of(1)
    metrics = json.loads((root / "reports/metrics.json").read_text())
    assert metrics["BWF_seen"] == metrics["BWF_task"] == metrics["zero_shot_BWF_seen"] == 0.0
    assert "BWF is 0" in capsys.readouterr().out
    assert "nothing can be forgotten yet" in (root / "reports/index.html").read_text()


def test_videos_without_a_validation_split_are_reported_without_its_numbers(
    unfinished: Callable[[int], Path], finishing: Callable[[Path], None]
) -> None:
    root = unfinished(2)
    for scores in (root / "work/scores").iterdir():
        (scores / "val.safetensors").unlink()
        rows = json.loads((scores / "val.json").read_text())
        (scores / "val.json").write_text(json.dumps(rows | {"queries": []}))
    finishing(root)
    metrics = json.loads((root / "reports/metrics.json").read_text())
    assert set(metrics) == KEYS | {"partial"}
    assert metrics["val_R@1"] is None
    assert metrics["R@1"] > 0


def test_a_loss_that_the_page_has_no_title_for_is_drawn_under_its_name(
    unfinished: Callable[[int], Path], finishing: Callable[[Path], None]
) -> None:
    root = unfinished(1)
    log = root / "work/logs/t01.jsonl"
    rows = [json.loads(line) | {"novelty": 1.0} for line in log.read_text().splitlines()]
    log.write_text("\n".join(map(json.dumps, rows)))
    finishing(root)
    assert "novelty" in (root / "reports/index.html").read_text()


def test_matrices_that_do_not_fit_their_rows_are_refused(
    unfinished: Callable[[int], Path], finishing: Callable[[Path], None]
) -> None:
    root = unfinished(1)
    path = root / "work/scores/t01/test.json"
    rows = json.loads(path.read_text())
    path.write_text(json.dumps(rows | {"queries": rows["queries"][:-1]}))
    with pytest.raises(UserError, match="embed@t01"):
        finishing(root)
    assert not (root / "reports").exists()


def test_the_same_inputs_make_the_same_bytes(finished: Path, run_of: Callable[[int], Path]) -> None:
    again = run_of(3)
    for name in ("metrics.json", "per_task.json", "per_task.csv", "geometry.json", "index.html", "plots/losses.json"):
        assert (again / "reports" / name).read_bytes() == (finished / "reports" / name).read_bytes()


def ticks(svg: str) -> list[float]:
    """The numbers at the y axis."""
    axis = svg.partition('id="matplotlib.axis_2"')[2]
    return [float(text.replace("−", "-")) for text in re.findall(r">([−\d.]+)</text>", axis)]


@pytest.mark.parametrize("values", [(32.0, 42.0), (0.0, 0.4), (97.0, 100.0), (50.0,)])
def test_an_axis_of_percent_begins_at_0_and_ends_at_100_at_most(values: tuple[float, ...]) -> None:
    found = ticks(line_chart([Line("a", "red", list(enumerate(values)))], "x", "y", percent=True))
    assert found[0] == 0
    assert found[-1] <= 100


def test_a_small_change_does_not_fill_a_chart() -> None:
    found = ticks(line_chart([Line("a", "red", [(1, 0.0), (2, 0.4)])], "x", "y", least=20))
    assert found[-1] - found[0] >= 10


def test_curves_of_tasks_differ_in_colour_and_their_neighbours_in_dashes() -> None:
    acc = {f"t{n:02d}": {f"t{i:02d}": float(i) for i in range(1, n + 1)} for n in range(1, 21)}
    lines = _task_curves(acc, "title")["legend"]
    assert len({line.colour for line in lines}) == 20
    assert all(one.dash != other.dash for one, other in pairwise(lines))


def test_a_chart_uses_the_pages_colours_and_no_others() -> None:
    svg = line_chart([Line("a", "var(--accent)", [(1, 2), (2, 3)])], "x", 'R@1 "quoted" <&>')
    assert "var(--accent)" in svg
    assert "#fe0" not in svg
    assert 'aria-label="R@1 &quot;quoted&quot; &lt;&amp;&gt;"' in svg


@pytest.mark.parametrize("stage", ["evaluate", "report"])
def test_the_stage_starts_without_torch(stage: str) -> None:
    program = f"import sys, stages.{stage}; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
