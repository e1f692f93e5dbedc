"""How wide a table is printed, and that text in it stays as it is: for all commands and stages that print one."""

from typing import Any

from rich.console import Console
from rich.text import Text

from structalign.text import visible

UNBOUND = 10_000  # columns: wider than any table


class _Plain(Console):
    """Shows what a name would have the terminal do: rich takes out some of it, and no escape character."""

    def render_str(self, text: str, *arguments: Any, **options: Any) -> Text:
        return super().render_str(visible(text, keep="\n"), *arguments, **options)


def terminal() -> Console:
    """A console that takes text as it is; in a pipe or a log a table is as wide as it needs, with whole headers.

    There rich would assume 80 columns. File names and captions may hold what rich takes for markup, as `[red]`.
    """
    plain = _Plain(markup=False, emoji=False, highlight=False)
    return plain if plain.is_terminal else _Plain(markup=False, emoji=False, highlight=False, width=UNBOUND)
