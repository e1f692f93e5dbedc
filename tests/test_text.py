"""Counts as a person says them, and names as a terminal may show them."""

from hypothesis import given
from hypothesis import strategies as st

from structalign.report.coverage import partial_label
from structalign.text import plural, visible


def test_one_is_counted_in_the_singular_and_no_other_number() -> None:
    assert [plural(number, "task") for number in (0, 1, 2, 1200)] == ["0 tasks", "1 task", "2 tasks", "1,200 tasks"]
    assert plural(2, "category", "categories") == "2 categories"


def test_one_lost_video_is_missing_and_two_are() -> None:
    assert partial_label({"partial": True, "lost": 1, "named": 8}) == "partial: 1 of 8 videos is missing or broken"
    assert partial_label({"partial": True, "lost": 2, "named": 8}) == "partial: 2 of 8 videos are missing or broken"


def test_what_a_terminal_would_obey_is_shown_in_place_of_it() -> None:
    assert visible("\x1b]0;title\x07 \x9b31m a\u202egnp.exe\rb\n") == (
        "\\x1b]0;title\\x07 \\x9b31m a\\u202egnp.exe\\rb\\n"
    )
    assert visible("a\nb\tc", keep="\n") == "a\nb\\tc"


@given(st.text())
def test_nothing_shown_is_obeyed_and_other_scripts_stay(text: str) -> None:
    shown = visible(text)
    assert visible(shown) == shown
    shown.encode("utf-8")
    assert not any(letter < " " or "\x7f" <= letter < "\xa0" for letter in shown)
    assert visible("क्‍ष éñ 😀 👨‍👩‍👧 עברית") == "क्‍ष éñ 😀 👨‍👩‍👧 עברית"
