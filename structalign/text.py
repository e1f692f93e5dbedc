"""Format counts, durations and sizes for a person, and names safely for a terminal."""

import re
from collections.abc import Sequence

# Characters that a terminal would act on: control characters, changes of the writing direction, unusual line ends.
# Also half characters, which cannot be printed.
UNSHOWN = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def plural(number: int, noun: str, plural: str = "") -> str:
    """A number and its noun, which is singular for one. `plural`: the plural, if it is not noun + s.

    >>> plural(1, "task"), plural(1200, "video"), plural(0, "category", "categories")
    ('1 task', '1,200 videos', '0 categories')
    """
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def duration(seconds: float) -> str:
    """Seconds, formatted for a person.

    >>> duration(4.21), duration(75.0), duration(7260)
    ('4.2 s', '1 min 15 s', '2 h 1 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def size(count: float | None) -> str:
    """Bytes, formatted for a person.

    >>> size(512), size(2048), size(3_500_000)
    ('512 B', '2.0 kB', '3.5 MB')
    """
    if count is None:
        return "–"
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def some(items: Sequence[object], shown: int = 5, separator: str = ", ") -> str:
    """The first items, and the number of further items.

    >>> some([1, 2]), some(range(1, 1008))
    ('1, 2', '1, 2, 3, 4, 5 and 1,002 more')
    """
    more = f" and {len(items) - shown:,} more" if len(items) > shown else ""
    return separator.join(map(str, items[:shown])) + more


def visible(text: str, keep: str = "") -> str:
    r"""The text with escapes for all characters that a terminal would act on, except those to `keep`.

    >>> visible("a\x1b[31mb\n")
    'a\\x1b[31mb\\n'
    """
    return UNSHOWN.sub(lambda found: found[0] if found[0] in keep else _escape(found[0]), text)


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def shortened(text: str, most: int = 80) -> str:
    """An external text, shortened for a message.

    >>> shortened("a" * 100, 4)
    'aaaa...'
    """
    return text if len(text) <= most else f"{text[:most]}..."
