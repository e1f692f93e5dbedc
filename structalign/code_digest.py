"""The digest of a stage's code: its module and all project modules that it imports, directly or indirectly.

Only the syntax tree counts, so comments, docstrings and layout do not. An imported project module counts by its digest
and not by its name, so it may move. Python 3.11, 3.12 and 3.13 give the same digest.

Python runs the `__init__` of a package before its modules, so it counts. Its `__getattr__` counts only for a module
that imports a name from the package. The `__init__` of `stages` does not count, since it changes no result. A template
counts with the module in its folder that names it.
"""

import ast
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from structalign.code_map import CodeMap, Import, running
from structalign.errors import UserError

# Modules that a stage imports by name: dotted names with placeholders for values of params.yaml, such as
# `structalign.learning.methods.{method[name]}`; `package.*` is every module of a package.
LOADED_BY_NAME: Mapping[str, Sequence[str]] = {
    "embed": ["structalign.search.signals.*"],
    "joint": ["structalign.search.signals.*"],
    "train": ["structalign.learning.methods.{method[name]}"],
}

# fields of syntax trees that have no effect, or that follow from the rest of the tree
SKIPPED = {"ctx", "kind", "type_comment", "type_ignores"}
TEMPLATE = "." + "j2"  # in two pieces: else every template would count with this module, which stages import
SOURCES = {".py", TEMPLATE}  # suffixes of the files on which a digest may depend


def stage_digest(code: "Code", stage: str, params: Mapping[str, Any]) -> str:
    """The digest of a stage's code; `params` is the tree of params.yaml, which may name modules to load."""
    named = named_modules(stage, params)
    return code.digest(f"stages.{stage}", [module for name in named for module in code.matching(name)])


def named_modules(stage: str, params: Mapping[str, Any]) -> list[str]:
    """The modules that a stage loads by name, with the values of `params` in place."""
    return [name.format_map(params) for name in LOADED_BY_NAME.get(stage, ())]


class Code(CodeMap):
    """The modules of the project's packages, each with its digest."""

    def __init__(self, packages: Mapping[str, Path] | None = None) -> None:
        super().__init__(packages)
        self._digests: dict[tuple[str, bool], str] = {}
        self._open: list[str] = []

    def digest(self, module: str, also: Iterable[str] = ()) -> str:
        """SHA-256 of the project code that a module and those of `also` run.

        Raises `UserError` if code cannot be read.
        """
        roots = [self._digest(module), *sorted(self._digest(name) for name in also)]
        passed = {parent for name in self.closure(module, also) for parent in self.parents(name)}
        inits = {self._digest(parent, passing=True) for parent in passed} - {EMPTY}
        return _sha256("\n".join([*roots, *sorted(inits)]))

    def _digest(self, module: str, passing: bool = False) -> str:
        key = (module, passing)
        if key not in self._digests:
            if module in self._open:
                ring = " -> ".join([*self._open[self._open.index(module) :], module])
                raise UserError(f"modules import each other ({ring}): move the shared code to another module.")
            self._open.append(module)
            own = self.own(module, passing)
            digests = {one.module: self._digest(one.module) for one in own}
            self._open.pop()
            text = _Text(self, module, digests, {one.bound: digests[one.module] for one in own if one.name is None})
            text.block(self.statements(module, passing))
            self._digests[key] = _sha256(text.finished())
        return self._digests[key]


class _Text:
    """A module's syntax tree as text. Project modules appear by their `digests` instead of their names.

    `bound` has the digest of each module to which a name in this module refers.
    """

    def __init__(self, code: Code, module: str, digests: Mapping[str, str], bound: Mapping[str, str]) -> None:
        self._code, self._module, self._digests, self._bound = code, module, digests, bound
        self._dotted = any("." in name for name in bound)
        self._parts: list[str] = []
        self._templates: set[str] = set()

    def finished(self) -> str:
        file = self._code.file(self._module)
        assert file is not None
        return " ".join([*self._parts, *_templates(file.parent, self._templates)])

    def block(self, statements: Iterable[ast.stmt]) -> None:
        """Statements in order. In a block of imports, those of project modules are sorted by digest."""
        others: list[str] = []
        own: list[str] = []
        self._parts.append("[")
        for statement in statements:
            if isinstance(statement, Import):
                for one in self._code.resolve(self._module, statement):
                    if isinstance(one, str):
                        others.append(f"import {one}")
                    elif one.name is None:
                        own.append(f"import {self._digests[one.module]}")
                    else:
                        own.append(f"from {self._digests[one.module]} {one.name} as {one.bound}")
                continue
            self._parts += [*others, *sorted(own)]
            others, own = [], []
            self._node(statement)
        self._parts += [*others, *sorted(own), "]"]

    def _node(self, node: ast.AST) -> None:
        kind = type(node)
        if kind is ast.Constant:
            self._constant(node.value)  # type: ignore[attr-defined]
            return
        if (kind is ast.Name or (self._dotted and kind is ast.Attribute)) and (
            module := self._bound.get(self._name(node))
        ) is not None:
            self._parts.append(f"(module {module})")
            return
        self._parts.append(f"({kind.__name__}")
        for field in node._fields:
            value = getattr(node, field, None)
            if isinstance(node, ast.JoinedStr):  # Python 3.12.1 adds empty pieces, 3.11 and 3.13 do not
                value = [piece for piece in node.values if getattr(piece, "value", None) != ""]
            if value is None or value == [] or field in SKIPPED:
                continue
            self._parts.append(f"{field}=")
            if isinstance(value, ast.AST):
                self._node(value)
            elif isinstance(value, list):
                self._list(value)
            else:
                self._constant(value)
        self._parts.append(")")

    def _list(self, values: Sequence[Any]) -> None:
        if isinstance(values[0], ast.stmt):
            self.block(running(values))
            return
        self._parts.append("[")
        for value in values:
            if isinstance(value, ast.AST):
                self._node(value)
            else:
                self._constant(value)
        self._parts.append("]")

    def _constant(self, value: object) -> None:
        # not `repr`: which characters it escapes depends on the Python version
        self._parts.append(f"{type(value).__name__} {value!a}")
        if isinstance(value, str) and TEMPLATE in value:
            self._templates.add(value)

    def _name(self, node: ast.AST) -> str:
        """`a`, or `a.b.c` if a dotted name is bound. An empty string for any other node."""
        if isinstance(node, ast.Name):
            return node.id
        if isinstance(node, ast.Attribute) and (before := self._name(node.value)):
            return f"{before}.{node.attr}"
        return ""


def _templates(folder: Path, names: Iterable[str]) -> list[str]:
    """Name and content of the templates in `folder` that end in one of `names`, and of templates that these name."""
    there = {file.relative_to(folder).as_posix(): file for file in folder.rglob(f"*{TEMPLATE}")} if names else {}
    found: dict[str, str] = {}
    waiting = list(names)
    while waiting:
        ending = waiting.pop()
        for name, file in there.items():
            if name.endswith(ending) and name not in found:
                found[name] = content = file.read_text(encoding="utf-8")
                waiting += re.findall(rf"""["']([^"']+{re.escape(TEMPLATE)})["']""", content)
    return [f"template {name} {_sha256(content)}" for name, content in sorted(found.items())]


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


EMPTY = _sha256("[ ]")  # of a module without a statement
