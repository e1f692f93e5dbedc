"""Counts, durations and sizes as a person says them."""


def plural(number: int, noun: str, plural: str = "") -> str:
    """A number and its noun, in the singular for one; `plural` where it is not noun + s.

    >>> plural(1, "task"), plural(1200, "video"), plural(0, "category", "categories")
    ('1 task', '1,200 videos', '0 categories')
    """
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def duration(seconds: float) -> str:
    """Seconds as a person says them.

    >>> duration(4.21), duration(75.0), duration(7260)
    ('4.2 s', '1 min 15 s', '2 h 1 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def size(count: float | None) -> str:
    """Bytes as a person says them.

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
