"""Counts in singular and plural, and names that are safe on a terminal."""

from hypothesis import given
from hypothesis import strategies as st

from structalign.report.coverage import partial_label
from structalign.text import plural, visible


def test_only_one_is_counted_in_the_singular() -> None:
    assert [plural(number, "task") for number in (0, 1, 2, 1200)] == ["0 tasks", "1 task", "2 tasks", "1,200 tasks"]
    assert plural(2, "category", "categories") == "2 categories"


def test_a_partial_run_uses_singular_and_plural() -> None:
    assert partial_label({"partial": True, "lost": 1, "named": 8}) == "partial: 1 of 8 videos is missing or broken"
    assert partial_label({"partial": True, "lost": 2, "named": 8}) == "partial: 2 of 8 videos are missing or broken"


def test_control_characters_are_shown_as_escapes() -> None:
    assert visible("\x1b]0;title\x07 \x9b31m a\u202egnp.exe\rb\n") == (
        "\\x1b]0;title\\x07 \\x9b31m a\\u202egnp.exe\\rb\\n"
    )
    assert visible("a\nb\tc", keep="\n") == "a\nb\\tc"


@given(st.text())
def test_shown_text_has_no_control_characters_and_keeps_other_scripts(text: str) -> None:
    shown = visible(text)
    assert visible(shown) == shown
    shown.encode("utf-8")
    assert not any(letter < " " or "\x7f" <= letter < "\xa0" for letter in shown)
    assert visible("क्‍ष éñ 😀 👨‍👩‍👧 עברית") == "क्‍ष éñ 😀 👨‍👩‍👧 עברית"
