"""The digest of a stage's code: of its module and of all modules of our own that this imports.

Only the syntax tree counts, so comments, docstrings and layout do not. An imported module of our own counts by its
digest, not by its name, so it may move. Python 3.11, 3.12 and 3.13 give the same digest.

Python runs the `__init__` of a package before its modules, so it counts. Its `__getattr__` counts only for a module
that imports a name from the package. The `__init__` of `stages` does not count: it watches the process and changes no
result. A template counts with the module beside it that names it.
"""

import ast
import hashlib
import importlib.util
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from structalign.errors import UserError

PACKAGES = ("structalign", "stages")
UNCOUNTED = "stages"

# Modules that a stage imports by name: dotted names with places for the values of params.yaml, as
# `structalign.learning.methods.{method[name]}`; `package.*` is every module of a package.
LOADED_BY_NAME: Mapping[str, Sequence[str]] = {
    "embed": ["structalign.search.signals.*"],
    "joint": ["structalign.search.signals.*"],
}

Import = ast.Import | ast.ImportFrom
# fields of syntax trees that have no effect, or follow from the rest of the tree
SKIPPED = {"ctx", "kind", "type_comment", "type_ignores"}
TEMPLATE = ".j2"


@dataclass(frozen=True)
class Imported:
    """A name that an import statement binds: a module (`name` is None), or what a module calls `name`."""

    module: str
    name: str | None
    bound: str


def stage_digest(code: "Code", stage: str, params: Mapping[str, Any]) -> str:
    """The digest of a stage's code; `params` is the tree of params.yaml, which may name modules to load."""
    named = [name.format_map(params) for name in LOADED_BY_NAME.get(stage, ())]
    return code.digest(f"stages.{stage}", [module for name in named for module in code.matching(name)])


class Code:
    """The modules of our own packages as they are on disk; each is read once in the life of a `Code`."""

    def __init__(self, packages: Mapping[str, Path] | None = None) -> None:
        """`packages` gives the folder of each package: by default those that Python would import."""
        self._packages = dict(_found(PACKAGES)) if packages is None else dict(packages)
        self._trees: dict[str, ast.Module] = {}
        self._digests: dict[tuple[str, bool], str] = {}
        self._imported: dict[tuple[str, bool], list[Imported]] = {}
        self._files: dict[str, Path | None] = {}
        self._open: list[str] = []

    def modules(self) -> list[str]:
        """Every module by its dotted name, packages included."""
        return sorted(
            ".".join((package, *_module_parts(file.relative_to(folder))))
            for package, folder in self._packages.items()
            for file in folder.rglob("*.py")
        )

    def matching(self, name: str) -> list[str]:
        """The module of that name, or of `package.*` all modules that the package holds itself."""
        package, _, last = name.rpartition(".")
        if last != "*":
            return [name]
        return [module for module in self.modules() if module.rpartition(".")[0] == package]

    def file(self, module: str) -> Path | None:
        """Where a module of our own is, or None if there is no such one."""
        if module not in self._files:
            package, *parts = module.split(".")
            place = self._packages.get(package)
            place = place.joinpath(*parts) if place is not None else None
            candidates = [] if place is None else [place / "__init__.py", place.with_name(f"{place.name}.py")]
            self._files[module] = next((file for file in candidates if file.is_file()), None)
        return self._files[module]

    def imported(self, module: str) -> set[str]:
        """Dotted names that a module imports anywhere, also inside functions; type-checking blocks excluded.

        `from a.b import c` gives `a.b` and `a.b.c`, since c may be a module.
        """
        names: set[str] = set()
        for statement in self._imports(module, passing=False):
            if isinstance(statement, ast.Import):
                names |= {alias.name for alias in statement.names}
            else:
                base = self._base(module, statement)
                names |= {base} | {f"{base}.{alias.name}" for alias in statement.names}
        return names

    def closure(self, module: str, also: Iterable[str] = ()) -> set[str]:
        """A module, those of `also`, and every module of our own that they import, directly or not.

        Packages whose `__init__` is run on the way are among them.
        """
        found: set[tuple[str, bool]] = set()
        waiting = [(name, False) for name in (module, *also)]
        while waiting:
            name, passing = at = waiting.pop()
            if at in found:
                continue
            found.add(at)
            waiting += [(parent, True) for parent in self._parents(name)]
            waiting += [(one.module, False) for one in self._own(name, passing)]
        return {name for name, _ in found}

    def digest(self, module: str, also: Iterable[str] = ()) -> str:
        """SHA-256 of what a module and those of `also` run of our own code; `UserError` if it cannot be read."""
        roots = [self._digest(module), *sorted(self._digest(name) for name in also)]
        passed = {parent for name in self.closure(module, also) for parent in self._parents(name)}
        inits = {self._digest(parent, passing=True) for parent in passed} - {EMPTY}
        return _sha256("\n".join([*roots, *sorted(inits)]))

    def _parents(self, module: str) -> list[str]:
        """The packages of a module whose `__init__` Python runs before it, and that count."""
        parts = module.split(".")
        above = [".".join(parts[:length]) for length in range(1, len(parts))]
        return [package for package in above if package != UNCOUNTED and self.file(package) is not None]

    def _tree(self, module: str) -> ast.Module:
        if module not in self._trees:
            file = self.file(module)
            if file is None:
                raise UserError(f"{module} is no module of {' or '.join(self._packages)}: mend the name.")
            try:
                self._trees[module] = ast.parse(file.read_bytes())
            except (SyntaxError, ValueError) as error:
                raise UserError(f"{file} is not valid Python ({error}): mend it.") from None
        return self._trees[module]

    def _imports(self, module: str, passing: bool) -> Iterator[Import]:
        """The import statements of a module; `passing`: those that it runs as a package on the way to another."""
        waiting: list[ast.AST] = list(_running(self._tree(module).body, passing))
        while waiting:
            node = waiting.pop()
            if isinstance(node, Import):
                yield node
                continue
            for field in ("body", "orelse", "finalbody", "handlers", "cases"):
                below = getattr(node, field, None)
                if isinstance(below, list):  # of a lambda or a conditional it is an expression
                    waiting += _running(below)

    def _own(self, module: str, passing: bool) -> list[Imported]:
        """What a module imports of our own."""
        if (module, passing) not in self._imported:
            self._imported[module, passing] = [
                one
                for statement in self._imports(module, passing)
                for one in self.resolve(module, statement)
                if isinstance(one, Imported)
            ]
        return self._imported[module, passing]

    def _base(self, module: str, statement: ast.ImportFrom) -> str:
        """The module that `from ... import` names, relative ones resolved."""
        if not statement.level:
            return statement.module or ""
        file = self.file(module)
        up = statement.level - (file is not None and file.name == "__init__.py")
        return ".".join([*module.split(".")[: len(module.split(".")) - up], *filter(None, [statement.module])])

    def resolve(self, module: str, statement: Import) -> Iterator[Imported | str]:
        """What a statement imports of our own; what it imports of others, as text."""
        for alias in statement.names:
            if isinstance(statement, ast.Import):
                own = self.file(alias.name) is not None
                yield Imported(alias.name, None, alias.asname or alias.name) if own else ast.unparse(alias)
                continue
            base = self._base(module, statement)
            bound, below = alias.asname or alias.name, f"{base}.{alias.name}"
            if self.file(below) is not None:
                yield Imported(below, None, bound)
            elif self.file(base) is not None:
                yield Imported(base, alias.name, bound)
            else:
                yield f"{base} {ast.unparse(alias)}"

    def _digest(self, module: str, passing: bool = False) -> str:
        key = (module, passing)
        if key not in self._digests:
            if module in self._open:
                ring = " -> ".join([*self._open[self._open.index(module) :], module])
                raise UserError(f"modules import each other ({ring}): move what both need into a third.")
            self._open.append(module)
            own = self._own(module, passing)
            digests = {one.module: self._digest(one.module) for one in own}
            self._open.pop()
            text = _Text(self, module, digests, {one.bound: digests[one.module] for one in own if one.name is None})
            text.block(_running(self._tree(module).body, passing))
            self._digests[key] = _sha256(text.finished())
        return self._digests[key]


class _Text:
    """A module's syntax tree as text without names of our own modules, which appear by their `digests`.

    `bound` has the digest of each module that a name of this one stands for.
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
        """Statements in order. Those of a run of imports that name our own modules stand by digest, not by place."""
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
            if isinstance(node, ast.JoinedStr):  # Python 3.12.1 has empty pieces in it, 3.11 and 3.13 have none
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
            self.block(_running(values))
            return
        self._parts.append("[")
        for value in values:
            if isinstance(value, ast.AST):
                self._node(value)
            else:
                self._constant(value)
        self._parts.append("]")

    def _constant(self, value: object) -> None:
        # not `repr`: which characters it escapes is the Python version's affair
        self._parts.append(f"{type(value).__name__} {value!a}")
        if isinstance(value, str) and TEMPLATE in value:
            self._templates.add(value)

    def _name(self, node: ast.AST) -> str:
        """`a` or, if a dotted name is bound, `a.b.c`; an empty string for any other node."""
        if isinstance(node, ast.Name):
            return node.id
        if isinstance(node, ast.Attribute) and (before := self._name(node.value)):
            return f"{before}.{node.attr}"
        return ""


def _running(statements: Iterable[ast.stmt], passing: bool = False) -> Iterator[ast.stmt]:
    """The statements that do something: no docstrings, no blocks for type checkers.

    `passing`: nor what a package defines for those who ask it for a name.
    """
    for statement in statements:
        if isinstance(statement, ast.If) and _type_checking(statement.test):
            yield from _running(statement.orelse)
        elif isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
            continue
        elif not (passing and isinstance(statement, ast.FunctionDef) and statement.name == "__getattr__"):
            yield statement


def _type_checking(test: ast.expr) -> bool:
    """Whether a condition is `TYPE_CHECKING`, also as an attribute of `typing` under any name."""
    return getattr(test, "id", getattr(test, "attr", None)) == "TYPE_CHECKING"


def _templates(folder: Path, names: Iterable[str]) -> list[str]:
    """Name and content of the templates in `folder` that end in one of `names`, and of those that they name in turn."""
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


def _found(packages: Iterable[str]) -> Iterator[tuple[str, Path]]:
    for package in packages:
        spec = importlib.util.find_spec(package)
        if spec is not None and spec.origin is not None:  # `stages` is not part of an installed library
            yield package, Path(spec.origin).parent


def _module_parts(file: Path) -> tuple[str, ...]:
    parts = file.with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" else parts


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


EMPTY = _sha256("[ ]")  # of a module without a statement
