"""Take the pictures of the docs in a project after `make demo`: `python tests/pictures.py PROJECT`.

Each picture carries the hash of the metrics that it was taken with, so `tests/test_docs.py` sees when they are old.
"""

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from browsing import CHROMIUM
from codemap import ROOT
from PIL import Image
from PIL.PngImagePlugin import PngInfo

if TYPE_CHECKING:
    from playwright.sync_api import Page

METRICS = "reports/metrics.json"
PICTURES = ("docs/search.png", "docs/report.png")
QUERY = "a kite rises from the bottom to the top over a brown sunburst"  # a test caption whose video is found
POSTERS = """() => [...document.querySelectorAll('#results .card img')]
  .filter(image => image.complete && image.naturalWidth > 0).length >= 15"""  # those in view


def metrics_hash(project: Path) -> str:
    return hashlib.sha256((project / METRICS).read_bytes()).hexdigest()


def shown_metrics(picture: Path) -> str | None:
    """The hash of the metrics that a picture was taken with."""
    with Image.open(picture) as image:
        found = image.info.get("metrics")
    return found if isinstance(found, str) else None


def take(page: "Page", picture: Path, metrics: str) -> None:
    page.screenshot(path=picture)
    noted = PngInfo()
    noted.add_text("metrics", metrics)
    with Image.open(picture) as image:
        image.convert("RGB").save(picture, pnginfo=noted, optimize=True)


def main(project: Path) -> None:
    from playwright.sync_api import sync_playwright

    metrics = metrics_hash(project)
    command = [str(Path(sys.executable).with_name("structalign")), "serve", "--port", "0", "--project", str(project)]
    with sync_playwright() as playwright, subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        try:
            assert server.stdout is not None
            address = next(word for line in server.stdout for word in line.split() if word.startswith("http"))
            page = browser.new_page(viewport={"width": 1200, "height": 760})
            page.goto(address)
            page.fill("#query", QUERY)
            page.locator("#results .card").first.wait_for()
            page.wait_for_function(POSTERS)
            take(page, ROOT / PICTURES[0], metrics)
            page = browser.new_page(viewport={"width": 1200, "height": 1500})
            page.goto((project / "reports/index.html").resolve().as_uri())
            take(page, ROOT / PICTURES[1], metrics)
        finally:
            browser.close()
            server.terminate()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
