"""Tables of results are those of docs/results/*.csv; `python tests/test_result_tables.py` writes them into the pages.

In a page `<!-- table NAME.csv rows="a; b" columns="R@1; BWF seen" decimals="1" -->` begins a table, and `<!-- end of
table -->` ends it. Rows are chosen by their first cell, and `a -> b` shows b in it. Without a choice all rows are
shown. A CSV has plain numbers.
`X_mean` and `X_std` become one column, and so do `X`, `X_low`, `X_high` and `X_std`. So do `X_difference` and its
interval, which is `X_difference_low` and `X_difference_high`, or `X_low` and `X_high`. So the CSVs of
`structalign compare` and `structalign sweep` fit.
"""

import csv
import json
import re
import subprocess
from pathlib import Path

import pytest
from codemap import ROOT

FOLDER = ROOT / "docs/results"
PAGES = ["README.md", "docs/results.md", "sample/DESIGN.md"]
TABLE = re.compile(r"(<!-- table (\S+)((?: \w+=\"[^\"]*\")*) -->\n).*?(<!-- end of table -->)", re.S)


def is_number(cell: str) -> bool:
    return re.fullmatch(r"-?\d+(\.\d+)?(e-?\d+)?", cell) is not None


def number(cell: str, decimals: int, sign: str = "") -> str:
    """A cell as shown: rounded, with thousands separators. Other text does not change."""
    if not is_number(cell):
        return cell
    text = f"{float(cell):{sign}.{decimals}f}" if "." in cell or sign else f"{int(cell):,}"
    return text.replace("-", "−")


def columns_of(header: list[str]) -> dict[str, str]:
    """The CSV column of each column of the table, by title."""
    found = {}
    for name in header:
        if name.endswith("_difference"):
            found["Δ " + name.removesuffix("_difference").replace("_", " ")] = name
        elif not name.endswith(("_std", "_low", "_high")):
            found[name.removesuffix("_mean").replace("_", " ")] = name
    return found


def shown(row: dict[str, str], name: str, decimals: int) -> str:
    """A cell of the table: a number, with its spread or interval if there is one."""
    base = name.removesuffix("_mean").removesuffix("_difference")
    sign = "+" if name.endswith("_difference") else ""
    text = number(row[name], decimals, sign)
    bounds = base if sign and f"{name}_low" not in row else name
    if row.get(f"{bounds}_low"):
        low, high = (number(row[bounds + end], decimals, sign) for end in ("_low", "_high"))
        text += f" [{low}, {high}]"
    if not sign and row.get(f"{base}_std"):
        text += f" ± {number(row[f'{base}_std'], decimals)}"
    return text


def table(name: str, rows: str = "", columns: str = "", decimals: str = "1") -> str:
    """A CSV of docs/results as Markdown."""
    with (FOLDER / name).open(encoding="utf-8", newline="") as stream:
        lines = list(csv.DictReader(stream))
    first = next(iter(lines[0]))
    by_name = {line[first]: line for line in lines}
    names = [key.partition(" -> ") for key in rows.split("; ")] if rows else []
    chosen = [by_name[name] | ({first: new} if new else {}) for name, _, new in names] if rows else lines
    known = columns_of(list(lines[0]))
    titles = [next(iter(known)), *columns.split("; ")] if columns else list(known)
    numeric = {title: any(is_number(line[known[title]]) for line in chosen) for title in titles}
    body = [
        [shown(line, known[title], int(decimals)) or ("–" if numeric[title] else "") for title in titles]
        for line in chosen
    ]
    rules = ["---:" if numeric[title] else "---" for title in titles]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in [titles, rules, *body])


def page(path: Path) -> str:
    """A page with its tables as the CSV files have them."""
    return TABLE.sub(
        lambda found: found[1] + table(found[2], **dict(re.findall(r'(\w+)="([^"]*)"', found[3]))) + found[4],
        path.read_text(encoding="utf-8"),
    )


@pytest.mark.parametrize("name", PAGES)
def test_the_tables_of_a_page_are_those_of_their_csv(name: str) -> None:
    assert (ROOT / name).read_text(encoding="utf-8") == page(ROOT / name), "python tests/test_result_tables.py"


def test_every_csv_is_shown_or_linked() -> None:
    pages = [(ROOT / name).read_text(encoding="utf-8") for name in (*PAGES, "docs/notebook.md")]
    named = {found[2] for page in pages for found in TABLE.finditer(page)}
    linked = {name for page in pages for name in re.findall(r"\(results/(\S+\.csv)\)", page)}
    assert named | linked == {path.name for path in FOLDER.glob("*.csv")}


def test_every_table_of_the_results_has_its_csv() -> None:
    """A table without a CSV could become stale. The tables without one give instructions, and no results."""
    left = TABLE.sub("", (ROOT / "docs/results.md").read_text(encoding="utf-8"))
    assert [line for line in left.splitlines() if line.startswith("|") and re.search(r"\| *[\d−–]", line)] == []


def test_a_table_joins_means_spreads_and_intervals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    header = "group,n,R@1_mean,R@1_std,BWF_seen,BWF_seen_low,BWF_seen_high,R@1_difference,R@1_low,R@1_high\n"
    (tmp_path / "made.csv").write_text(f"{header}a,3,24.125,0.34,-1.5,-2.0,1.0,-3.25,-4.0,0.5\nb,1200,20.0,,,,,,,\n")
    monkeypatch.setattr("test_result_tables.FOLDER", tmp_path)
    assert table("made.csv", columns="n; R@1; BWF seen; Δ R@1").splitlines() == [
        "| group | n | R@1 | BWF seen | Δ R@1 |",
        "| --- | ---: | ---: | ---: | ---: |",
        "| a | 3 | 24.1 ± 0.3 | −1.5 [−2.0, 1.0] | −3.2 [−4.0, +0.5] |",
        "| b | 1,200 | 20.0 | – | – |",
    ]
    assert table("made.csv", rows="b", columns="n").splitlines()[2:] == ["| b | 1,200 |"]
    assert table("made.csv", rows="b -> last; a", columns="n").splitlines()[2:] == ["| last | 1,200 |", "| a | 3 |"]
    header = "row,R@1,R@1_low,R@1_high,R@1_std,R@1_difference,R@1_difference_low,R@1_difference_high\n"
    (tmp_path / "sweep.csv").write_text(f"{header}a,24.125,20.0,28.0,0.34,-3.25,-4.0,0.5\n")
    assert table("sweep.csv").splitlines()[2] == "| a | 24.1 [20.0, 28.0] ± 0.3 | −3.2 [−4.0, +0.5] |"


def committed(name: str) -> dict[str, float]:
    """reports/NAME of the last commit, since an experiment in the workspace changes the file."""
    done = subprocess.run(["git", "show", f"HEAD:reports/{name}"], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        pytest.skip("this is no clone")
    found: dict[str, float] = json.loads(done.stdout)
    return found


def rows_of(name: str) -> dict[str, dict[str, str]]:
    with (FOLDER / name).open(encoding="utf-8", newline="") as stream:
        return {line[next(iter(line))]: line for line in csv.DictReader(stream)}


def test_the_tables_have_the_numbers_of_the_committed_reports() -> None:
    run, metrics = rows_of("sample.csv"), committed("metrics.json")
    for key in ("R@1", "R@5", "R@10", "R@1_avg", "v2t_R@1", "BWF_seen", "BWF_task"):
        assert float(run["structalign"][key]) == metrics[key], key
    assert float(run["zero-shot CLIP"]["R@1"]) == metrics["zero_shot_R@1"]
    assert float(run["zero-shot CLIP"]["BWF_seen"]) == metrics["zero_shot_BWF_seen"]


def test_the_criteria_table_has_the_measured_numbers() -> None:
    files = [json.loads((ROOT / "sample" / name).read_text()) for name in ("criteria-1-2-3.json", "criteria-0.json")]
    seeds = {seed: values for file in files for seed, values in file["seeds"].items()}
    for criterion, row in rows_of("criteria.csv").items():
        found = {seed: values[criterion] for seed, values in seeds.items()}
        found = {f"seed {seed}": value for seed, value in found.items()} | {
            "mean": sum(found[seed] for seed in "123") / 3
        }
        assert {name: float(row[name]) for name in found} == pytest.approx(found, abs=5e-5), criterion


if __name__ == "__main__":
    for name in PAGES:
        (ROOT / name).write_text(page(ROOT / name), encoding="utf-8")
