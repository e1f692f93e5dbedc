"""The docs and CI agree with `make`."""

import re

import pytest
from codemap import ROOT

DOCS = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
LINES = dict(re.findall(r"^([\w./]+): \S.*\n\t(.+)$", MAKEFILE, re.M))


@pytest.mark.parametrize("target", ["demo", "test", "check", "results"])
def test_the_docs_give_the_commands_without_make(target: str) -> None:
    assert re.search(rf"^\$ {re.escape(LINES[target])} +# {target}$", DOCS, re.M)


@pytest.mark.parametrize("target", ["demo", "test"])
def test_the_readme_begins_with_the_two_commands(target: str) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert re.search(rf"^\$ make {target} ", readme.split("## What you get")[0], re.M)


@pytest.mark.parametrize(("stamp", "packages"), [(".venv/stamp", "'.[pipeline,serve]'"), (".venv/tests", "'.[test]'")])
def test_plain_pip_makes_the_environment(stamp: str, packages: str) -> None:
    line = LINES[stamp].replace("--no-compile ", "")  # make compiles on all cores
    assert line.startswith(f"python3 -m venv .venv && .venv/bin/pip install -q -c constraints.txt -e {packages} && ")


def test_the_docs_give_the_environment_of_the_tests() -> None:
    line, _, _ = LINES[".venv/tests"].replace("--no-compile ", "").partition(" && $(COMPILE)")
    assert f"$ {line}" in DOCS


def test_an_environment_for_tests_is_enough_for_the_demo() -> None:
    assert LINES[".venv/tests"].endswith("touch .venv/stamp .venv/tests")


def test_make_pulls_the_sample_for_the_tests() -> None:
    assert LINES["test"].startswith("dvc pull data && ")


@pytest.mark.parametrize("package", ["chromium", "fonts-noto-color-emoji", "unicode-data"])
def test_ci_installs_the_packages_without_which_tests_are_skipped(package: str) -> None:
    assert package in (ROOT / ".ci/run").read_text(encoding="utf-8")
