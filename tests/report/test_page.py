"""The page in a real browser: Debian's chromium, offline."""

import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = Path("/usr/bin/chromium")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    if not CHROMIUM.exists() and os.environ.get("STRUCTALIGN_REQUIRE_BROWSER") != "1":
        pytest.skip("there is no chromium here: `apt-get install chromium` brings it")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        yield browser
        browser.close()


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


def contrasts(page: "Page") -> list[float]:
    """WCAG contrast of every visible text with the nearest painted background behind it."""
    found: list[float] = page.evaluate(
        """() => {
          const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
          const rgb = colour => {
            canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
            return [...canvas.getImageData(0, 0, 1, 1).data];
          };
          const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
            .map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
            .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
          const behind = element => {
            for (; element; element = element.parentElement) {
              const colour = rgb(getComputedStyle(element).backgroundColor);
              if (colour[3] === 255) return colour;
            }
          };
          return [...document.querySelectorAll('body *')]
            .filter(e => [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim()))
            .filter(e => e.checkVisibility() && e.tagName !== 'STYLE' && e.tagName !== 'style')
            .map(e => {
              const ink = getComputedStyle(e)[e.tagName === 'text' ? 'fill' : 'color'];
              const [a, b] = [light(rgb(ink)), light(behind(e))].sort((x, y) => y - x);
              return (a + .05) / (b + .05);
            });
        }"""
    )
    return found


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
    assert all(re.fullmatch(r"(the video meant: )?[a-z]+ \d+", text) for text in texts)
