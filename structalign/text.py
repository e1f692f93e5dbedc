"""Counts as a person says them."""


def plural(number: int, noun: str, plural: str = "") -> str:
    """A number and its noun, in the singular for one; `plural` where it is not noun + s.

    >>> plural(1, "task"), plural(1200, "video"), plural(0, "category", "categories")
    ('1 task', '1,200 videos', '0 categories')
    """
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
