"""Tables in a pipe and on a narrow terminal: headers are complete, and text is no markup."""

import io
from collections.abc import Callable

import pytest
from rich.console import Console
from rich.table import Table

from structalign.cli import search
from structalign.library.hits import Hit, Moment
from structalign.report.compare import Run, group_runs
from structalign.report.compare_tables import compare_tables
from structalign.report.tables import headline_table
from structalign.report.terminal import terminal
from structalign.report.text_table import rich_table

METRICS = ("R@1", "R@5", "R@10", "MedR", "MeanR", "v2t_R@1", "BWF_seen", "BWF_task")
HEADLINE = [{"row": "structalign", **dict.fromkeys(METRICS, 100.0)}]
NAME = "a [red] folder/:cat: [/] %s.mp4" % ("long " * 20)


def headline() -> Table:
    return headline_table(HEADLINE, partial="")


def compared() -> Table:
    metrics: dict[str, float | None] = dict.fromkeys(("R@1", "R@5", "R@10", "R@1_avg", "v2t_R@1", "BWF_seen"), 10.0)
    runs = [Run(f"{seed}", seed, {"method.name": "structalign"}, metrics) for seed in range(2)]
    groups, _ = group_runs(runs)
    return rich_table(compare_tables(groups, groups[0])[1])


def searched() -> Table:
    moment = Moment("0", start=0.0, end=0.5, at=0.2, score=1.0)
    return search.table([Hit("0", NAME, 1.0, 2.0, 0.5, [moment], category="cats [bold]")])


@pytest.mark.parametrize("table", [headline, compared, searched])
def test_a_pipe_gets_whole_lines(table: Callable[[], Table], capsys: pytest.CaptureFixture[str]) -> None:
    made = table()
    terminal().print(made)
    lines = capsys.readouterr().out.splitlines()
    assert any(all(str(column.header) in line for column in made.columns) for line in lines)
    assert not any("…" in line for line in lines)


def test_text_is_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    terminal().print(searched())
    printed = capsys.readouterr().out
    assert NAME in printed
    assert "cats [bold]" in printed


@pytest.mark.parametrize("table", [headline, searched])
def test_a_terminal_of_80_columns_cuts_nothing(table: Callable[[], Table]) -> None:
    stream = io.StringIO()
    Console(file=stream, width=80, markup=False).print(table())
    assert "…" not in stream.getvalue()


def test_a_name_cannot_control_the_terminal() -> None:
    console = terminal()
    console.file = io.StringIO()
    name = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202egnp\nrank.mp4"
    moment = Moment("0", start=0.0, end=0.5, at=0.2, score=1.0)
    console.print(search.table([Hit("0", name, 1.0, 2.0, 0.5, [moment], category="cats\x1b[31m")]))
    console.print(f"note: {name}")
    printed = console.file.getvalue()
    assert r"\x1b]0;owned\x07\x1b[2J\x9b31m\u202egnp\nrank.mp4" in printed
    assert "\x1b" not in printed
    assert "\x9b" not in printed
