"""The project's modules and their imports, read from the source without running it."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from structalign.code_digest import Code
from structalign.code_map import PACKAGES

ROOT = Path(__file__).resolve().parents[1]


CODE = Code({package: ROOT / package for package in PACKAGES})


@cache
def modules() -> dict[str, Path]:
    """Every module of the library and the pipeline by dotted name, package `__init__` files excluded."""
    files = {name: CODE.file(name) for name in CODE.modules()}
    return {name: file for name, file in files.items() if file is not None and file.name != "__init__.py"}


@cache
def imported(name: str) -> set[str]:
    """Dotted names that a module imports anywhere, also inside functions; type-checking blocks excluded."""
    return CODE.imported(name)


@cache
def graph() -> dict[str, set[str]]:
    """Each module's own imports among the project's modules."""
    return {name: (imported(name) & set(modules())) - {name} for name in modules()}


@cache
def closure(name: str) -> set[str]:
    """A module with all that it imports, directly or not, package `__init__` files excluded."""
    return CODE.closure(name) & set(modules())


def calls(file: Path, function: str) -> Iterator[ast.Call]:
    """The calls of a plainly named function in a file."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == function:
            yield node
