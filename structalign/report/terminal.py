"""The console of all commands and stages that print a table: its width, and text without markup."""

from typing import Any

from rich.console import Console
from rich.text import Text

from structalign.text import visible

UNBOUND = 10_000  # columns, more than any table has


class _Plain(Console):
    """Shows control characters in names as escapes. rich removes only some of them."""

    def render_str(self, text: str, *arguments: Any, **options: Any) -> Text:
        return super().render_str(visible(text, keep="\n"), *arguments, **options)


def terminal() -> Console:
    """A console without markup. In a pipe or a log, tables are as wide as needed, where rich would assume 80 columns.

    File names and captions may have text that looks like rich's markup, such as `[red]`.
    """
    plain = _Plain(markup=False, emoji=False, highlight=False)
    return plain if plain.is_terminal else _Plain(markup=False, emoji=False, highlight=False, width=UNBOUND)
