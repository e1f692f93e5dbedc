"""The page in a real browser: Debian's chromium, offline."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from browsing import contrasts

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.slow


def visit(browser: "Browser", root: Path, width: int = 1200, dark: bool = False) -> "Page":
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light", offline=True
    )
    page = context.new_page()
    page.goto((root / "reports/index.html").resolve().as_uri())
    return page


@pytest.mark.parametrize("width", [380, 768, 1200])
def test_the_page_never_scrolls_sideways(browser: "Browser", finished: Path, width: int) -> None:
    page = visit(browser, finished, width)
    for details in page.query_selector_all("details"):
        details.evaluate("element => element.open = true")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_twenty_tasks_fit_a_phone(browser: "Browser", run_of: Callable[[int], Path]) -> None:
    page = visit(browser, run_of(20), width=380)
    assert page.evaluate("document.documentElement.scrollWidth") <= 380


@pytest.mark.parametrize("dark", [False, True])
def test_both_themes_are_legible(browser: "Browser", finished: Path, dark: bool) -> None:
    page = visit(browser, finished, dark=dark)
    red = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/[0-9]+/)[0]")
    assert (int(red) < 64) == dark
    found = contrasts(page)
    assert len(found) > 50
    assert min(found) >= 4.5


def test_the_page_asks_the_network_for_nothing(browser: "Browser", finished: Path) -> None:
    context = browser.new_context()
    page = context.new_page()
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.goto((finished / "reports/index.html").resolve().as_uri(), wait_until="networkidle")
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
    assert sum(url.startswith("file:") for url in requests) == 1


def test_the_headline_is_the_number_in_metrics_json(browser: "Browser", finished: Path) -> None:
    metrics = json.loads((finished / "reports/metrics.json").read_text())
    page = visit(browser, finished)
    for key in ("R@1", "v2t_R@1", "BWF_seen", "BWF_task"):
        shown = page.locator(f'[data-metric="{key}"]').inner_text()
        assert shown.removesuffix(" %").replace("−", "-") == f"{metrics[key]:.1f}"
    frozen = page.locator(f'dd:has-text("zero-shot CLIP {metrics["zero_shot_R@1"]:.1f}")')
    assert frozen.count() >= 1


def test_every_thumbnail_is_a_picture(browser: "Browser", finished: Path) -> None:
    page = visit(browser, finished)
    sizes = page.evaluate("[...document.images].map(image => image.naturalWidth)")
    assert len(sizes) > 30
    assert min(sizes) >= 90


def test_a_caption_with_markup_is_shown_as_text(browser: "Browser", finished: Path) -> None:
    page = visit(browser, finished)
    assert "<b>&</b>" in page.locator("blockquote").first.inner_text()


def test_the_videos_left_out_are_counted(browser: "Browser", finished: Path) -> None:
    page = visit(browser, finished)
    assert page.locator("[data-left-out]").get_attribute("data-left-out") == "2"


def test_every_thumbnail_says_its_category(browser: "Browser", finished: Path) -> None:
    page = visit(browser, finished)
    texts = page.evaluate("[...document.images].map(image => image.alt)")
    assert all(re.fullmatch(r"(the right video: )?[a-z]+ \d+", text) for text in texts)
