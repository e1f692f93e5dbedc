"""The page in a real browser, over a real server."""

import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from browsing import contrasts
from served import CAPTION, HOSTILE, Labelled, Server, running

from structalign.library import ranking

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page, Route

pytestmark = pytest.mark.slow
MEDIA = re.compile("/(media|stretch)")
TOKEN = "correct-horse-battery"
SHOWS = "() => document.querySelector('#video').readyState >= 2 && document.querySelector('#video').videoWidth > 0"
OPEN = "() => document.querySelector('#viewer').open"
CLOSED = "() => !document.querySelector('#viewer').open"
OWNED = "() => document.title === 'owned'"


@pytest.fixture
def page(browser: "Browser", server: Server) -> Iterator["Page"]:
    """The page, open and empty. A failing script fails the test."""
    context = browser.new_context(viewport={"width": 1200, "height": 900})
    page = context.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.goto(server.url)
    page.wait_for_selector("#examples button")
    yield page
    context.close()
    assert not faults


def search(page: "Page", query: str) -> "Locator":
    """Type a query. Returns the cards when they are shown."""
    page.fill("#query", query)
    cards = page.locator("#results .card")
    cards.first.wait_for()
    return cards


def files(cards: "Locator") -> list[str]:
    return cards.locator(".file").all_inner_texts()


def card_of(page: "Page", file: str) -> "Locator":
    """The card of a file, after scrolling as far as needed."""
    found = page.locator("#results .card", has_text=file)
    for _ in range(10):
        if found.count():
            return found.first
        page.mouse.wheel(0, 3000)
        page.wait_for_timeout(200)
    raise AssertionError(f"no card of {file}")


def position(page: "Page") -> float:
    """The second of the file that the open video shows."""
    return float(page.locator("#line").get_attribute("aria-valuenow") or "nan")


def refusing(status: int, text: str) -> "Callable[[Route], None]":
    """A route handler that answers with an error of the API."""
    return lambda route: route.fulfill(status=status, body=json.dumps({"error": text}))


def without_copy(route: "Route") -> None:
    """The API's answer as of a file that is too long for a whole copy."""
    about = route.fetch().json()
    url = f"/api/videos/{about['id']}/stretch?begin="
    at = float(route.request.url.rpartition("=")[2])
    route.fulfill(json=about | {"copied": False, "play": {"url": f"{url}{at:.2f}", "start": at, "whole": False}})


def test_typing_shows_posters_and_scores_in_the_order_of_the_api(page: "Page", server: Server) -> None:
    cards, hits = search(page, "red blue"), server.search("red blue", limit=10)
    assert files(cards)[:10] == [hit["file"] for hit in hits]
    page.wait_for_function("() => document.querySelector('.card img').naturalWidth > 0")
    name = cards.first.get_attribute("aria-label") or ""
    assert name.startswith(hits[0]["file"])
    assert f"{hits[0]['above']:.1f} standard deviations" in name
    bars = page.evaluate("() => [...document.querySelectorAll('.score i')].map(bar => bar.offsetWidth)")
    assert bars[0] > bars[-1] > 0


def test_a_click_plays_from_the_matching_second(page: "Page", server: Server) -> None:
    search(page, "red")
    at = next(hit["at"] for hit in server.search("red", limit=100) if hit["file"] == "one/film.mp4")
    card_of(page, "one/film.mp4").click()
    page.wait_for_function(SHOWS)
    page.wait_for_function("() => document.querySelector('#video').currentTime > 0")
    began = page.evaluate("() => document.querySelector('#video').currentTime")
    assert at - 0.1 <= began <= at + 3
    assert page.locator("#name").inner_text() == "one/film.mp4"
    assert page.evaluate("() => !document.querySelector('#video').paused || document.querySelector('#video').ended")


@pytest.mark.parametrize("file", ["two/hevc.mp4", "two/old.mpg", "two/boxed.avi"])
def test_a_file_that_browsers_do_not_play_is_shown_from_the_matching_second(
    page: "Page", server: Server, file: str
) -> None:
    search(page, "red")
    at = next(hit["at"] for hit in server.search("red", limit=100) if hit["file"] == file)
    assert at > 4
    card_of(page, file).click()
    page.wait_for_function(SHOWS)
    assert position(page) >= at - 0.1


def test_a_failure_is_shown_and_can_be_tried_again(page: "Page") -> None:
    search(page, "red")
    asked = "**/api/videos/*?at=*"
    page.route(asked, lambda route: route.fulfill(status=502, body="<html>"))  # as of a proxy
    card_of(page, "one/film.mp4").click()
    said = "text => document.querySelector('#playing').textContent.includes(text)"
    page.wait_for_function(said, arg="502")
    page.unroute(asked)
    page.click("#moments button")
    page.wait_for_function(SHOWS)
    for status, text in ((404, "index again"), (429, "try again")):
        page.unroute(MEDIA)
        page.keyboard.press("Escape")
        page.route(MEDIA, refusing(status, text))
        card_of(page, "one/film.mp4").click()
        page.wait_for_function(said, arg=text)
    page.unroute(MEDIA)
    page.wait_for_function(SHOWS)  # as soon as there is room


def test_a_server_without_an_answer_is_reported_until_it_answers(page: "Page") -> None:
    page.route("**/api/index", lambda route: route.abort())
    page.wait_for_selector("#state.error")
    assert "structalign serve" in page.locator("#state").inner_text()
    page.unroute("**/api/index")
    page.wait_for_function("() => !document.querySelector('#state').textContent")
    assert page.locator("#state.error").count() == 0


def test_the_frame_that_matches_a_word_is_marked(page: "Page") -> None:
    search(page, "red")
    card_of(page, "one/film.mp4").click()
    page.wait_for_selector("#heat tbody tr")
    assert page.locator("#heat tbody th").all_inner_texts() == ["red"]
    assert page.locator("#heat th.best").count() == 1
    names = [button.get_attribute("aria-label") for button in page.locator("#heat thead button").all()]
    assert len({*names}) == len(names)  # also of frames within a second
    assert "the best match" in (page.locator("#heat th.best button").get_attribute("aria-label") or "")
    assert page.locator("#line .match").count() == 1
    page.locator("#heat thead button").last.click()
    page.wait_for_function("() => document.querySelector('#video').currentTime > 4")


def test_the_other_moments_of_a_file_can_be_chosen(
    page: "Page", server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranking, "SAME_SIGHT", 2)  # a random CLIP sees no difference between neighbours
    search(page, "red")
    hit = next(hit for hit in server.search("red", limit=100) if len(hit["moments"]) > 1)
    card_of(page, hit["file"]).click()
    page.wait_for_function(SHOWS)
    buttons = page.locator("#moments button")
    assert buttons.count() == len(hit["moments"])
    page.evaluate("() => document.querySelector('#video').pause()")
    buttons.nth(1).click()
    at = hit["moments"][1]["at"]
    page.wait_for_function(f"() => Math.abs(document.querySelector('#video').currentTime - {at}) < 1.5")


@pytest.mark.parametrize("copied", [False, True])
def test_any_second_of_a_converted_file_can_be_chosen(page: "Page", copied: bool) -> None:
    asked = "**/api/videos/*?at=*"
    if not copied:  # as of a long file
        page.route(asked, without_copy)
    search(page, "red")
    card_of(page, "two/hevc.mp4").click()
    page.wait_for_function(SHOWS)
    if copied:
        page.wait_for_function("() => document.querySelector('#video').src.endsWith('/media')")
        page.wait_for_function(SHOWS)
        assert page.locator("#playing").inner_text() == ""
    line = page.locator("#line")
    if not copied:  # each key counts, and the last one decides, whenever the answers come
        held: list[Route] = []
        page.route(asked, lambda route: held.append(route))
        for _ in range(2):
            line.press("ArrowLeft")
        while len(held) < 2:
            page.wait_for_timeout(20)
        page.route(asked, without_copy)
        for route in reversed(held):
            without_copy(route)
        page.wait_for_timeout(200)
        assert page.evaluate("() => document.querySelector('#video').src").endswith("begin=0.00")
    line.click(position={"x": line.evaluate("line => line.offsetWidth") / 4, "y": 3})
    page.wait_for_function("() => Math.abs(document.querySelector('#line').ariaValueNow - 2.5) < 0.6")
    page.evaluate("() => document.querySelector('#video').pause()")
    line.press("ArrowRight")
    page.wait_for_function("() => document.querySelector('#line').ariaValueNow >= 7")


def test_hovering_and_focus_show_a_silent_preview(page: "Page") -> None:
    card = search(page, "red").first
    for focus in (False, True):
        if focus:
            card.focus()
        else:
            card.hover()
        page.wait_for_function("() => document.querySelector('.card video')?.readyState >= 2")
        assert page.evaluate("() => document.querySelector('.card video').muted")
        if focus:
            card.blur()
        else:
            page.mouse.move(1, 1)
        assert page.locator(".card video").count() == 0


def test_the_page_can_be_used_by_keyboard_only(page: "Page") -> None:
    search(page, "red")
    focused = "() => [...document.querySelectorAll('.card')].indexOf(document.activeElement)"
    page.locator("body").click(position={"x": 2, "y": 2})
    page.keyboard.press("/")
    assert page.evaluate("() => document.activeElement.id") == "query"
    page.keyboard.press("ArrowDown")
    assert page.evaluate(focused) == 0
    page.keyboard.press("ArrowRight")
    assert page.evaluate(focused) == 1
    page.keyboard.press("ArrowDown")
    below = page.evaluate(focused)
    assert below > 2
    page.keyboard.press("ArrowUp")
    assert page.evaluate(focused) == 1
    page.keyboard.press("Enter")
    page.wait_for_function(OPEN)
    page.keyboard.press("Escape")
    page.wait_for_function(CLOSED)
    assert page.evaluate(focused) == 1
    page.keyboard.press("Escape")
    assert page.evaluate("() => document.activeElement.id") == "query"


@pytest.mark.parametrize(("filter", "value"), [("category", "two"), ("folder", "two"), ("task", "t02")])
def test_a_filter_only_shows_matching_videos(page: "Page", filter: str, value: str) -> None:
    search(page, "red")
    page.select_option(f"#{filter}", value)
    page.wait_for_function("() => document.querySelectorAll('.card').length === 3")
    assert {file.split("/")[0] for file in files(page.locator(".card"))} == {"two"}


def test_a_link_has_query_and_filters_and_the_server_does_not_see_them(
    page: "Page", browser: "Browser", server: Server
) -> None:
    search(page, "red blue")
    page.select_option("#folder", "two")
    page.wait_for_function("() => document.querySelectorAll('.card').length === 3")
    seen = files(page.locator(".card"))
    context = browser.new_context()
    other, urls = context.new_page(), list[str]()
    other.on("request", lambda request: urls.append(request.url))
    other.goto(page.url)
    other.locator(".card").nth(2).wait_for()
    assert files(other.locator(".card")) == seen
    assert (other.input_value("#query"), other.input_value("#folder")) == ("red blue", "two")
    assert not [url for url in urls if "blue" in url.partition("#")[0]]
    context.close()


def test_back_restores_the_previous_query_and_closes_the_video(page: "Page") -> None:
    search(page, "red")
    page.keyboard.press("Enter")
    page.locator("#category").select_option("two")
    page.wait_for_function("() => document.querySelectorAll('.card').length === 3")
    page.locator(".card").first.click()
    page.wait_for_function(OPEN)
    page.go_back()
    page.wait_for_function(CLOSED)
    page.wait_for_function("() => document.querySelectorAll('.card').length > 3")
    assert page.input_value("#category") == ""


def test_scrolling_loads_more_until_a_message_marks_the_end(page: "Page", server: Server) -> None:
    search(page, "red")
    for _ in range(20):
        page.mouse.wheel(0, 4000)
        page.wait_for_timeout(150)
        if page.locator("#end").inner_text():
            break
    count = server.collection.index.files
    assert page.locator("#end").inner_text() == f"That is all: {count} videos."
    assert len(set(files(page.locator(".card")))) == count


def test_the_progress_of_indexing_is_shown(page: "Page", shelf: Path) -> None:
    values = {"process": os.getpid(), "machine": os.uname().nodename, "done": 3, "total": 7}
    writer = shelf / "index/writer.json"
    writer.write_text(json.dumps(values), encoding="utf-8")
    try:
        page.wait_for_selector("#indexing:not([hidden])")
        assert page.locator("#indexing").inner_text().strip() == "Indexing: 3 of 7 files"
    finally:
        writer.unlink()
    page.wait_for_selector("#indexing", state="hidden")


def test_weak_matches_are_below_a_line(page: "Page") -> None:
    search(page, "red")
    assert page.locator("#results .line").count() == 0
    page.fill("#query", "unheard")
    line = page.locator("#results > :first-child.line")
    line.wait_for()
    assert "Weak" in line.inner_text()


def test_hostile_captions_and_file_names_are_text(page: "Page") -> None:
    assert page.locator("#examples button").all_inner_texts() == ["a red one", CAPTION]
    page.locator("#examples button").nth(1).click()
    page.locator(".card").first.wait_for()
    assert page.input_value("#query") == CAPTION
    card_of(page, HOSTILE).click()
    page.wait_for_function(SHOWS)
    assert page.locator("#name").inner_text() == f"one/{HOSTILE}"
    assert not page.evaluate(OWNED)


def test_more_like_this_shows_similar_videos(page: "Page", server: Server) -> None:
    search(page, "red")
    card_of(page, "one/film.mp4").click()
    page.click("#like")
    page.wait_for_function(CLOSED)
    page.wait_for_selector("#heading:not([hidden])")
    page.locator(".card").first.wait_for()
    expected = server.json(f"/api/similar/{server.id_of('film.mp4')}?limit=5")["hits"]
    assert files(page.locator(".card"))[:5] == [hit["file"] for hit in expected]


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [380, 1200])
def test_it_is_legible_and_never_scrolls_sideways(browser: "Browser", server: Server, dark: bool, width: int) -> None:
    context = browser.new_context(
        viewport={"width": width, "height": 800}, color_scheme="dark" if dark else "light", reduced_motion="reduce"
    )
    page = context.new_page()
    for path in ("/#q=unheard", "/login", "/docs"):
        page.goto(server.url + path)
        page.wait_for_load_state("networkidle")
        assert page.evaluate("() => document.documentElement.scrollWidth") <= width
        assert min(_legible(page)) >= 4.5, path
    page.goto(f"{server.url}/#q=red")
    page.locator(".card").first.click()
    page.wait_for_selector("#heat tbody tr")
    red = page.evaluate("() => getComputedStyle(document.body).backgroundColor.match(/[0-9]+/)[0]")
    assert (int(red) < 64) == dark
    assert page.evaluate("() => document.documentElement.scrollWidth") <= width
    assert page.evaluate("() => document.querySelector('#viewer').scrollWidth") <= width
    assert page.locator("#close").is_visible()
    context.close()


def _legible(page: "Page") -> list[float]:
    """Contrasts of all texts except those on a picture."""
    page.evaluate("() => document.querySelectorAll('.picture time, option').forEach(element => element.remove())")
    return contrasts(page)


def test_a_screen_reader_finds_a_name_for_every_control(page: "Page") -> None:
    search(page, "red").first.click()
    page.wait_for_selector("#heat tbody tr")
    nameless = """() => [...document.querySelectorAll('button, input, select, a')]
        .filter(element => !(element.innerText || element.ariaLabel || element.labels?.[0]?.innerText || '').trim())
        .filter(element => element.checkVisibility()).map(element => element.outerHTML)"""
    assert page.evaluate(nameless) == []
    assert page.locator("dialog").get_attribute("aria-labelledby") == "name"
    assert page.locator("#state").get_attribute("role") == "status"


def test_two_tabs_search_independently(page: "Page", server: Server) -> None:
    other = page.context.new_page()
    other.goto(server.url)
    page.fill("#query", "red")
    other.fill("#query", "blue white")
    for tab, query in ((page, "red"), (other, "blue white")):
        tab.locator(".card").first.wait_for()
        assert files(tab.locator(".card"))[:5] == [hit["file"] for hit in server.search(query, limit=5)]


def test_the_page_sends_no_request_to_another_machine(browser: "Browser", server: Server) -> None:
    context, urls = browser.new_context(), list[str]()
    page = context.new_page()
    page.on("request", lambda request: urls.append(request.url))
    for path in ("/#q=red", "/docs", "/login"):
        page.goto(server.url + path, wait_until="networkidle")
    assert len(urls) > 10
    assert not [url for url in urls if not url.startswith((server.url, "data:"))]
    assert page.goto(f"{server.url}/docs")
    page.wait_for_selector("section h2")
    assert "POST /api/search" in page.locator("main").inner_text()
    section = page.locator("section", has_text="/api/videos/{id}/media")
    section.locator("summary").click()
    assert {"404", "416", "429"} <= set(section.locator("details th").all_inner_texts())
    context.close()


def test_a_query_typed_before_the_page_is_ready_is_kept(browser: "Browser", server: Server) -> None:
    context = browser.new_context()
    page = context.new_page()
    held: list[Route] = []
    page.route("**/api/index", lambda route: held.append(route))
    page.goto(server.url)
    page.wait_for_timeout(100)
    page.type("#query", "red")
    held[0].continue_()
    page.locator("#results .card").first.wait_for()
    assert page.input_value("#query") == "red"
    context.close()


def test_the_token_opens_the_page(browser: "Browser", shelf: Path, tmp_path: Path) -> None:
    with running(lambda: Labelled(shelf / "index"), tmp_path, token=TOKEN) as locked:
        context = browser.new_context()
        page = context.new_page()
        page.goto(locked.url)
        assert page.url == f"{locked.url}/login"
        page.fill("#token", "something else")
        page.keyboard.press("Enter")
        page.wait_for_url(f"{locked.url}/login?wrong")
        page.fill("#token", TOKEN)
        page.keyboard.press("Enter")
        page.wait_for_url(f"{locked.url}/")
        search(page, "red").first.click()
        page.wait_for_function(SHOWS)
        cookies: list[Any] = context.cookies()
        assert [(cookie["httpOnly"], cookie["sameSite"]) for cookie in cookies] == [(True, "Strict")]
        context.close()


def test_the_end_of_candidates_is_shown_and_twice_as_many_can_be_ranked(page: "Page", server: Server) -> None:
    def few(route: "Route") -> None:
        body = json.loads(route.request.post_data or "{}") | {"mode": "candidates"}
        body["candidates"] = body["candidates"] or 5
        route.continue_(post_data=json.dumps(body))

    page.route("**/api/search", few)
    search(page, "red")
    page.wait_for_function("() => document.querySelector('#end').textContent.includes('only 5 candidates')")
    before = page.locator("#results .card").count()
    page.click("#end button")
    page.wait_for_function("() => document.querySelector('#end').textContent.includes('only 10 candidates')")
    assert page.locator("#results .card").count() > before
