"""A table of text, for a terminal or as Markdown."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table


@dataclass(frozen=True)
class TextTable:
    """A table of text. The first column names the rows."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


def rich_table(sheet: TextTable) -> Table:
    """The table for a terminal."""
    table = Table(title=sheet.title, title_justify="left")
    for index, name in enumerate(sheet.header):
        table.add_column(name, justify="right" if index else "left", overflow="fold")
    for row in sheet.rows:
        table.add_row(*row)
    return table


def markdown(sheet: TextTable) -> str:
    """The table in Markdown with its title."""
    lines = [sheet.header, ["---", *["---:"] * (len(sheet.header) - 1)], *sheet.rows]
    return f"**{sheet.title}**\n\n" + "".join(f"| {' | '.join(line)} |\n" for line in lines)
