"""The pages are correct: links have targets, and commands, options, code and tests exist."""

import re
import shlex
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest
import typer.main
from codemap import ROOT
from pictures import PICTURES, metrics_hash, shown_metrics

from structalign.cli.app import app

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("sample/*.md"), *ROOT.glob(".github/**/*.md")])
NAMES = [path.relative_to(ROOT).as_posix() for path in PAGES]
LINK = re.compile(r"\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.M | re.S)


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", FENCE.sub("", text), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("name", NAMES)
def test_every_link_leads_to_a_file_and_a_heading(name: str) -> None:
    page = ROOT / name
    for link in LINK.findall(FENCE.sub("", page.read_text(encoding="utf-8"))):
        if "://" not in link:
            path, _, anchor = link.partition("#")
            target = page.parent / path if path else page
            assert target.exists(), link
            assert not anchor or anchor in anchors(target.read_text(encoding="utf-8")), link


def console(name: str) -> Iterator[str]:
    """The `structalign` commands of a page's console blocks, without their comments."""
    for language, block in FENCE.findall((ROOT / name).read_text(encoding="utf-8")):
        if language in ("console", "bash"):
            for line in re.sub(r"\\\n\s*", " ", block).splitlines():
                if line.startswith("$ "):
                    yield from re.findall(r"structalign [^&|;]+", re.split(r"\s#\s", line)[0])


@pytest.mark.parametrize("name", [name for name in NAMES if any(console(name))])
def test_every_command_and_option_exists(name: str) -> None:
    for line in console(name):
        command: Any = typer.main.get_command(app)
        words = shlex.split(line)[1:]
        while hasattr(command, "get_command") and words and not words[0].startswith("-"):
            command = command.get_command(None, words.pop(0))
            assert command, line
        known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
        assert {word.partition("=")[0] for word in words if word.startswith("--")} <= known, line


def test_the_functions_and_tests_in_the_table_of_the_paper_exist() -> None:
    table = (
        (ROOT / "README.md").read_text(encoding="utf-8").split("## From the paper to the code")[1].split("## Links")[0]
    )
    rows = [line.split("|")[2:4] for line in table.splitlines() if line.startswith("| ")][1:]
    assert len(rows) >= 8
    for functions, tests in rows:
        for name in re.findall(r"`([\w.]+)`", functions):
            module, _, attribute = f"structalign.{name}".rpartition(".")
            assert hasattr(import_module(module), attribute) or import_module(f"{module}.{attribute}")
        for name in re.findall(r"`([\w./]+)`", tests):
            assert (ROOT / "tests" / name).is_file(), name


def test_the_readme_stays_short_and_in_order() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 125
    assert text.index("docs/search.png") < text.index("## Quick start")
    assert re.findall(r"^## (.+)$", text, re.M) == [
        "Quick start",
        "What you get",
        "Your own videos",
        "Search your own folder",
        "Python",
        "Experiments",
        "Benchmarks",
        "From the paper to the code",
        "Links",
    ]


FOREIGN = (
    "python:",
    "failed to",
    "Could not",
    "Unable",
    "'./dvc.lock'",
    "structalign ",
    "dvc ",
    "-S ",
)  # DVC's, commands
VARIABLE = re.compile(r"…|[\w./]*\.(?:yaml|csv|json)|data/|contrastive\.prior")  # what a message fills in


def test_the_messages_of_the_troubleshooting_are_those_of_the_code() -> None:
    table = (ROOT / "docs/operations.md").read_text(encoding="utf-8").split("## Troubleshooting")[1]
    code = "".join(
        path.read_text(encoding="utf-8") for top in ("structalign", "stages") for path in (ROOT / top).rglob("*.py")
    )
    code = re.sub(r'"\s*\n\s*f?"', "", code)  # one text over several lines
    symptoms = [line.split(" | ")[0] for line in table.splitlines() if line.startswith("| ")]
    quoted = [text for cell in symptoms for text in re.findall("`([^`]+)`", cell) if " " in text]
    ours = [text for text in quoted if not text.startswith(FOREIGN)]
    lost = [text for text in ours if not all(part.strip() in code for part in VARIABLE.split(text))]
    assert (lost, len(ours) > 20) == ([], True)


@pytest.mark.parametrize("picture", PICTURES)
def test_a_picture_shows_the_metrics_that_are_committed(picture: str) -> None:
    assert shown_metrics(ROOT / picture) == metrics_hash(ROOT), "python tests/pictures.py PROJECT takes it anew"


def test_no_page_names_a_registry_s_host() -> None:
    hosts = re.compile(r"pypi\.org|pytorch\.org/whl|files\.pythonhosted", re.I)
    assert [name for name in NAMES if hosts.search((ROOT / name).read_text(encoding="utf-8"))] == []


def test_the_pages_are_found() -> None:
    assert {"README.md", "docs/operations.md", ".github/pull_request_template.md"} <= set(NAMES)
