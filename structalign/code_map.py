"""The modules of the project's packages and their imports, read from source without running it."""

import ast
import importlib.util
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from structalign.errors import UserError

PACKAGES = ("structalign", "stages")
UNCOUNTED = "stages"  # its `__init__` changes no result

Import = ast.Import | ast.ImportFrom


@dataclass(frozen=True)
class Imported:
    """An imported name: a module (`name` is None), or the object `name` of a module."""

    module: str
    name: str | None
    bound: str


class CodeMap:
    """The modules of the project's packages on disk. A `CodeMap` reads each module once."""

    def __init__(self, packages: Mapping[str, Path] | None = None) -> None:
        """`packages` gives the folder of each package. Default: those that Python would import."""
        self.packages = dict(_found(PACKAGES)) if packages is None else dict(packages)
        self._trees: dict[str, ast.Module] = {}
        self._imported: dict[tuple[str, bool], list[Imported]] = {}
        self._files: dict[str, Path | None] = {}

    def modules(self) -> list[str]:
        """Every module by its dotted name, packages included."""
        return sorted(
            ".".join((package, *_module_parts(file.relative_to(folder))))
            for package, folder in self.packages.items()
            for file in folder.rglob("*.py")
        )

    def matching(self, name: str) -> list[str]:
        """The module of that name. For `package.*`, all modules directly in the package."""
        package, _, last = name.rpartition(".")
        if last != "*":
            return [name]
        return [module for module in self.modules() if module.rpartition(".")[0] == package]

    def file(self, module: str) -> Path | None:
        """The file of a project module, or None if there is no such module."""
        if module not in self._files:
            package, *parts = module.split(".")
            place = self.packages.get(package)
            place = place.joinpath(*parts) if place is not None else None
            candidates = [] if place is None else [place / "__init__.py", place.with_name(f"{place.name}.py")]
            self._files[module] = next((file for file in candidates if file.is_file()), None)
        return self._files[module]

    def imported(self, module: str) -> set[str]:
        """Dotted names that a module imports, also inside functions, but not in type-checking blocks.

        `from a.b import c` gives `a.b` and `a.b.c`, because c may be a module.
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
        """A module, those of `also`, and every project module that they import, directly or indirectly.

        This includes packages whose `__init__` Python runs.
        """
        found: set[tuple[str, bool]] = set()
        waiting = [(name, False) for name in (module, *also)]
        while waiting:
            name, passing = at = waiting.pop()
            if at in found:
                continue
            found.add(at)
            waiting += [(parent, True) for parent in self.parents(name)]
            waiting += [(one.module, False) for one in self.own(name, passing)]
        return {name for name, _ in found}

    def parents(self, module: str) -> list[str]:
        """The packages of a module whose `__init__` Python runs before it, if they count."""
        parts = module.split(".")
        above = [".".join(parts[:length]) for length in range(1, len(parts))]
        return [package for package in above if package != UNCOUNTED and self.file(package) is not None]

    def statements(self, module: str, passing: bool = False) -> Iterator[ast.stmt]:
        """The statements that a module runs. `passing`: it is imported only as the package of another module."""
        return running(self._tree(module).body, passing)

    def _tree(self, module: str) -> ast.Module:
        if module not in self._trees:
            file = self.file(module)
            if file is None:
                raise UserError(f"{module} is not a module of {' or '.join(self.packages)}: correct the name.")
            try:
                self._trees[module] = ast.parse(file.read_bytes())
            except (SyntaxError, ValueError) as error:
                raise UserError(f"{file} is not valid Python ({error}): correct it.") from None
        return self._trees[module]

    def _imports(self, module: str, passing: bool) -> Iterator[Import]:
        waiting: list[ast.AST] = list(self.statements(module, passing))
        while waiting:
            node = waiting.pop()
            if isinstance(node, Import):
                yield node
                continue
            for field in ("body", "orelse", "finalbody", "handlers", "cases"):
                below = getattr(node, field, None)
                if isinstance(below, list):  # of a lambda or a conditional it is an expression
                    waiting += running(below)

    def own(self, module: str, passing: bool) -> list[Imported]:
        """The project modules that a module imports.

        `passing`: it is imported only as the package of another module.
        """
        if (module, passing) not in self._imported:
            self._imported[module, passing] = [
                one
                for statement in self._imports(module, passing)
                for one in self.resolve(module, statement)
                if isinstance(one, Imported)
            ]
        return self._imported[module, passing]

    def _base(self, module: str, statement: ast.ImportFrom) -> str:
        """The module that `from ... import` names, with relative names resolved."""
        if not statement.level:
            return statement.module or ""
        file = self.file(module)
        up = statement.level - (file is not None and file.name == "__init__.py")
        return ".".join([*module.split(".")[: len(module.split(".")) - up], *filter(None, [statement.module])])

    def resolve(self, module: str, statement: Import) -> Iterator[Imported | str]:
        """The imports of a statement: project modules as `Imported`, other modules as text."""
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


def running(statements: Iterable[ast.stmt], passing: bool = False) -> Iterator[ast.stmt]:
    """The statements that have an effect, without docstrings and type-checking blocks.

    `passing`: also without what a package defines for imports of its names.
    """
    for statement in statements:
        if isinstance(statement, ast.If) and _type_checking(statement.test):
            yield from running(statement.orelse)
        elif isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
            continue
        elif not (passing and isinstance(statement, ast.FunctionDef) and statement.name == "__getattr__"):
            yield statement


def _type_checking(test: ast.expr) -> bool:
    """Whether a condition is `TYPE_CHECKING`, also as an attribute of `typing` under any name."""
    return getattr(test, "id", getattr(test, "attr", None)) == "TYPE_CHECKING"


def _found(packages: Iterable[str]) -> Iterator[tuple[str, Path]]:
    for package in packages:
        spec = importlib.util.find_spec(package)
        if spec is not None and spec.origin is not None:  # `stages` is not part of an installed library
            yield package, Path(spec.origin).parent


def _module_parts(file: Path) -> tuple[str, ...]:
    parts = file.with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" else parts
