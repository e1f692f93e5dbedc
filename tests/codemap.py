"""The project's modules and who imports whom, read from the source without running it."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


@cache
def modules() -> dict[str, Path]:
    """Every module of the library and the pipeline by dotted name, package `__init__` files excluded."""
    files = [*ROOT.glob("structalign/**/*.py"), *ROOT.glob("stages/*.py")]
    return {
        ".".join(file.relative_to(ROOT).with_suffix("").parts): file
        for file in sorted(files)
        if file.name != "__init__.py"
    }


@cache
def imported(file: Path) -> set[str]:
    """Dotted names that a file imports anywhere, also inside functions; type-checking blocks excluded.

    `from a.b import c` gives `a.b` and `a.b.c`, since c may be a module.
    """
    names: set[str] = set()
    for node in _running(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def _running(node: ast.AST) -> Iterator[ast.AST]:
    yield node
    if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
        return
    for child in ast.iter_child_nodes(node):
        yield from _running(child)


@cache
def graph() -> dict[str, set[str]]:
    """Each module's own imports among the project's modules."""
    known = modules()
    return {name: (imported(file) & set(known)) - {name} for name, file in known.items()}


def closure(name: str) -> set[str]:
    """A module with all that it imports, directly or not."""
    edges, found, waiting = graph(), {name}, [name]
    while waiting:
        for other in edges[waiting.pop()] - found:
            found.add(other)
            waiting.append(other)
    return found


def calls(file: Path, function: str) -> Iterator[ast.Call]:
    """The calls of a plainly named function in a file."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == function:
            yield node
