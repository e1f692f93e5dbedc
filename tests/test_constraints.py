"""constraints.txt pins all installed packages, for every supported Python."""

import re
import tomllib
from importlib.metadata import PackageNotFoundError, requires
from typing import cast

import pytest
from codemap import ROOT
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

LINES = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
PINS = [Requirement(line) for line in LINES if not line.startswith("#")]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PYTHONS = [
    line.rsplit(" ", 1)[1] for line in PROJECT["classifiers"] if line.startswith("Programming Language :: Python :: 3.")
]
OF_CUDA = ("cuda-", "nvidia-", "triton")  # which a CUDA build of torch pins by itself


def applies(need: Requirement, python: str, extra: str = "") -> bool:
    """Whether a requirement applies to a version of Python and an extra."""
    environment = cast("dict[str, str]", default_environment()) | {"python_version": python, "extra": extra}
    return need.marker is None or need.marker.evaluate(environment)


def pinned(python: str) -> list[str]:
    """The pinned names for a version of Python."""
    return [canonicalize_name(pin.name) for pin in PINS if applies(pin, python)]


def brought(name: str, extras: frozenset[str], python: str, found: set[tuple[str, frozenset[str]]]) -> None:
    """Add a package's requirements on a version of Python to `found`, recursively, from the installed metadata."""
    if (name, extras) in found:
        return
    found.add((name, extras))
    try:
        needed = [Requirement(text) for text in requires(name) or []]
    except PackageNotFoundError:  # not on this version of Python
        return
    for need in needed:
        if any(applies(need, python, extra) for extra in (*extras, "")):
            brought(canonicalize_name(need.name), frozenset(need.extras), python, found)


@pytest.mark.parametrize("python", PYTHONS)
def test_everything_that_is_installed_is_pinned(python: str) -> None:
    found: set[tuple[str, frozenset[str]]] = set()
    brought("structalign", frozenset({"test"}), python, found)
    names = {name for name, _ in found if not name.startswith(OF_CUDA)} - {"structalign"}
    assert names - set(pinned(python)) == set()


@pytest.mark.parametrize("python", PYTHONS)
def test_a_package_is_pinned_once_and_exactly(python: str) -> None:
    assert len(pinned(python)) == len(set(pinned(python)))
    assert [pin.name for pin in PINS if [spec.operator for spec in pin.specifier] != ["=="]] == []


def test_constraints_and_docs_name_the_supported_pythons() -> None:
    assert PYTHONS == ["3.11", "3.12", "3.13"]
    assert "3.11, 3.12 and 3.13" in LINES[0]
    assert "3.11, 3.12 or 3.13" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_ci_tries_every_supported_python() -> None:
    workflow = (ROOT / ".github/workflows/test.yml").read_text(encoding="utf-8")
    assert set(re.findall(r"\b3\.1\d\b", workflow)) == set(PYTHONS)
