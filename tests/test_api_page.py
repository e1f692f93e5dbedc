"""docs/api.md equals the docstrings. `python tests/test_api_page.py` writes it again."""

import ast
import inspect
import sys
from collections.abc import Iterator

import pytest
from codemap import CODE, ROOT

DOCUMENT = ROOT / "docs/api.md"
HEAD = """# Python

Written from the docstrings by `python tests/test_api_page.py`. Shapes are in brackets: B batch, V videos, Q queries,
N frames, L words, D embedding, C categories. What is private to a module is not here.

`import structalign` gives `load`, `open_index` and `__version__`.
"""
PAGES = {
    "Load, encode and score": ["search.retriever", "model.video_text"],
    "Find": ["library.opening", "library.video_index", "library.hits"],
    "Similarity and ranking": ["search.similarity", "search.fusion", "evaluation.ranks"],
    "Metrics": ["evaluation.metrics", "evaluation.continual"],
    "Learning": ["learning.losses", "learning.etf"],
}
MODULES = [f"structalign.{name}" for names in PAGES.values() for name in names]

Definition = ast.FunctionDef | ast.ClassDef


def public(module: str) -> Iterator[tuple[str, Definition]]:
    """The public functions, classes and methods of a module, by dotted name."""
    file = CODE.file(module)
    assert file is not None
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, Definition) and not node.name.startswith("_"):
            yield node.name, node
            for below in node.body if isinstance(node, ast.ClassDef) else ():
                if isinstance(below, ast.FunctionDef) and not below.name.startswith("_"):
                    yield f"{node.name}.{below.name}", below


def signature(name: str, node: Definition) -> str:
    """A definition in one line, without the annotations of its own instance."""
    if isinstance(node, ast.ClassDef):
        fields = [ast.unparse(line.target) for line in node.body if isinstance(line, ast.AnnAssign)]
        return f"class {name}({', '.join(field for field in fields if not field.startswith('_'))})"
    return f"{name}({ast.unparse(node.args)}){f' -> {ast.unparse(node.returns)}' if node.returns else ''}"


def page() -> str:
    """docs/api.md."""
    lines = [HEAD]
    for title, names in PAGES.items():
        lines.append(f"## {title}\n")
        for module in (f"structalign.{name}" for name in names):
            lines.append(f"### {module}\n")
            for name, node in public(module):
                text = inspect.cleandoc(ast.get_docstring(node) or "")
                words, mark, example = text.partition("\n>>> ")
                lines.append(f"`{signature(name, node)}`\n\n{words.strip()}\n")
                if mark:
                    lines.append(f"```pycon\n>>> {example.strip()}\n```\n")
    return "\n".join(lines)


def test_the_page_equals_the_docstrings() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == page(), "python tests/test_api_page.py writes it anew"


@pytest.mark.parametrize("module", MODULES)
def test_everything_public_has_a_docstring(module: str) -> None:
    silent = [name for name, node in public(module) if not ast.get_docstring(node)]
    assert silent == []


if __name__ == "__main__":
    DOCUMENT.write_text(page(), encoding="utf-8")
    print(f"{sum(1 for name in MODULES for _ in public(name))} entries", file=sys.stderr)
