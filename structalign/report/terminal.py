"""How wide a table is printed, and that text in it stays as it is: for all commands and stages that print one."""

from rich.console import Console

UNBOUND = 10_000  # columns: wider than any table


def terminal() -> Console:
    """A console that takes text as it is; in a pipe or a log a table is as wide as it needs, with whole headers.

    There rich would assume 80 columns. File names and captions may hold what rich takes for markup, as `[red]`.
    """
    plain = Console(markup=False, emoji=False, highlight=False)
    return plain if plain.is_terminal else Console(markup=False, emoji=False, highlight=False, width=UNBOUND)
