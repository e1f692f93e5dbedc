"""Counts as a person says them."""

from structalign.report.coverage import partial_label
from structalign.text import plural


def test_one_is_counted_in_the_singular_and_no_other_number() -> None:
    assert [plural(number, "task") for number in (0, 1, 2, 1200)] == ["0 tasks", "1 task", "2 tasks", "1,200 tasks"]
    assert plural(2, "category", "categories") == "2 categories"


def test_one_lost_video_is_missing_and_two_are() -> None:
    assert partial_label({"partial": True, "lost": 1, "named": 8}) == "partial: 1 of 8 videos is missing or broken"
    assert partial_label({"partial": True, "lost": 2, "named": 8}) == "partial: 2 of 8 videos are missing or broken"
