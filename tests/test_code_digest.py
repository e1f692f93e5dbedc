"""The digest of code changes with its effect, not with its formatting or place."""

import ast
import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent

import pytest
from codemap import CODE, ROOT
from hypothesis import given, settings
from hypothesis import strategies as st

from structalign import code_digest
from structalign.code_digest import Code, stage_digest
from structalign.code_map import PACKAGES
from structalign.errors import UserError

Files = dict[str, str]

PLAIN = dedent(
    '''
    """A module."""

    import os
    from math import pi
    from toy.below import one, two

    SIZE = {"a": 1.5}


    class Thing:
        """A thing."""

        size: int = 3

        def times(self, factor: float) -> str:
            return f"{self.size * factor:.2f} of {SIZE['a']!r}" "."
    '''
)
TOY = {"toy.main": PLAIN, "toy.below": "one = 1\ntwo = 2\n", "toy.aside": "three = 3\n"}


@pytest.fixture
def toy(tmp_path: Path) -> "Toy":
    return Toy(tmp_path)


class Toy:
    """Writes toy packages, and takes digests of them."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def code(self, files: Mapping[str, str]) -> Code:
        """The modules of `files`, by dotted name. A name with a slash is that of any other file."""
        shutil.rmtree(self.root)
        for name, text in files.items():
            file = self.root / (name if "/" in name else f"{name.replace('.', '/')}.py")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        for folder in [self.root / "toy", *(self.root / "toy").rglob("*/")]:
            (folder / "__init__.py").touch()
        return Code({"toy": self.root / "toy"})

    def digest(self, files: Mapping[str, str], module: str = "toy.main", also: tuple[str, ...] = ()) -> str:
        return self.code(files).digest(module, also)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("import os", "# a comment\nimport os  # another"),
        ('"""A module."""', '"""Another text."""'),
        ('"""A module."""', ""),
        ('    """A thing."""\n\n', ""),
        ("\n\nclass", "\n\n\n\n\nclass"),
        ('{"a": 1.5}', "{\n    'a': 1.50,\n}"),
        ("import one, two", "import (\n    two,\n    one,\n)"),
        ("import one, two", "import one\nfrom toy.below import two"),
        ("import os\n", "import os\nfrom typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch\n"),
    ],
)
def test_the_formatting_of_code_does_not_change_the_digest(toy: Toy, old: str, new: str) -> None:
    assert old in PLAIN
    before = PLAIN if "TYPE_CHECKING" not in new else PLAIN.replace(old, f"{old}from typing import TYPE_CHECKING\n")
    assert toy.digest(TOY | {"toy.main": PLAIN.replace(old, new)}) == toy.digest(TOY | {"toy.main": before})


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("1.5", "1.25"),
        ("1.5", "'1.5'"),
        ("= 3", "= 3.0"),
        ("= 3", "= True"),
        (".2f", ".3f"),
        ("!r", "!s"),
        (" of ", " OF "),
        ("* factor", "+ factor"),
        ("factor", "other"),
        ("import os", "import sys"),
        ("import os", "import os as sys"),
        ("from math", "from numpy"),
        ("import pi", "import tau"),
        ("import one, two", "import one"),
        ("import one, two", "import one, one as two"),
        ("import one, two", "import one as two, two as one"),
        ("from toy.below import one, two", "from toy.aside import one, two"),
        ("    size: int", "    @staticmethod\n    def f(): ...\n    size: int"),
    ],
)
def test_what_code_does_changes_the_digest(toy: Toy, old: str, new: str) -> None:
    assert old in PLAIN
    assert toy.digest(TOY | {"toy.main": PLAIN.replace(old, new)}) != toy.digest(TOY)


@settings(deadline=None)
@given(st.randoms(use_true_random=False))
def test_comments_and_blank_lines_anywhere_do_not_change_the_digest(
    tmp_path_factory: pytest.TempPathFactory, draw: random.Random
) -> None:
    toy = Toy(tmp_path_factory.mktemp("toy"))
    lines = [
        line + "  # why" * (bool(line) and '"""' not in line and draw.random() < 0.3) for line in PLAIN.split("\n")
    ]
    noisy = "\n".join(line + draw.choice(["", "", "\n", "\n# because", "\n    # ..."]) for line in lines)
    assert toy.digest(TOY | {"toy.main": noisy}) == toy.digest(TOY)


WAYS = {  # to import `value` of a module: {0} its package, {1} its own name
    "from": "from {0}.{1} import value\nprint(value)",
    "from as": "from {0}.{1} import value as v\nprint(v)",
    "module of package": "from {0} import {1}\nprint({1}.value)",
    "module as": "from {0} import {1} as m\nprint(m.value)",
    "import": "import os, {0}.{1}\nprint({0}.{1}.value)",
    "import as": "import {0}.{1} as m\nprint(m.value)",
    "star": "from {0}.{1} import *\nprint(value)",
    "in a function": "def f():\n    from {0}.{1} import value\n    return value",
    "in a branch": "try:\n    from {0}.{1} import value\nexcept ImportError:\n    value = 1",
    "in a handler": "try:\n    import fast\nexcept ImportError:\n    from {0}.{1} import value",
    "in a case": "match 1:\n    case 1:\n        from {0}.{1} import value",
    "in a lambda's neighbour": "f = lambda: 1\nif f():\n    pass\nelse:\n    from {0}.{1} import value",
    "unless checking types": (
        "from typing import TYPE_CHECKING\nif not TYPE_CHECKING:\n    from {0}.{1} import value\nelse:\n    value = 1"
    ),
}
RELATIVE = {"relative": "from .{1} import value", "relative module": "from . import {1}\nprint({1}.value)"}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
def test_moving_a_module_does_not_change_the_digest_and_editing_it_does(toy: Toy, way: str) -> None:
    def files(package: str, name: str, value: int) -> Files:
        return {"toy.main": way.format(package, name), f"{package}.{name}": f"value = {value}"}

    before = toy.digest(files("toy", "old", 1))
    assert toy.digest(files("toy", "new", 1)) == before
    assert toy.digest(files("toy.deep.er", "new", 1)) == before
    assert toy.digest(files("toy", "old", 2)) != before


@pytest.mark.parametrize("way", RELATIVE.values(), ids=RELATIVE.keys())
@pytest.mark.parametrize("main", ["toy.main", "toy.deep.main"])
def test_a_relative_import_is_followed(toy: Toy, way: str, main: str) -> None:
    def digest(name: str, value: int) -> str:
        package = main.rpartition(".")[0]
        return toy.digest({main: way.format(package, name), f"{package}.{name}": f"value = {value}"}, main)

    assert digest("new", 1) == digest("old", 1) != digest("old", 2)


def test_moving_modules_may_change_the_order_of_imports(toy: Toy) -> None:
    main = "import os\n\nfrom toy.{} import x\nfrom toy.{} import y\nprint(x, y)"
    before = toy.digest({"toy.main": main.format("a", "b"), "toy.a": "x = 1", "toy.b": "y = 2"})
    turned = "import os\n\nfrom toy.b import y\nfrom toy.c import x\nprint(x, y)"
    assert toy.digest({"toy.main": turned, "toy.c": "x = 1", "toy.b": "y = 2"}) == before
    assert toy.digest({"toy.main": main.format("b", "a"), "toy.a": "x = 1", "toy.b": "y = 2"}) != before


def test_an_import_that_changes_place_among_other_statements_changes_the_digest(toy: Toy) -> None:
    first = {"toy.main": "from toy.a import x\nprint()", "toy.a": "x = 1"}
    assert toy.digest(first | {"toy.main": "print()\nfrom toy.a import x"}) != toy.digest(first)


@st.composite
def graphs(draw: st.DrawFn) -> list[set[int]]:
    """For each of some modules, the later ones that it imports."""
    size = draw(st.integers(2, 6))
    return [draw(st.sets(st.integers(at + 1, size - 1))) if at + 1 < size else set() for at in range(size)]


@settings(deadline=None)  # some hundred files are written and read
@given(graphs(), st.data())
def test_an_edit_only_changes_the_digests_of_modules_that_import_it(
    tmp_path_factory: pytest.TempPathFactory, imports: list[set[int]], data: st.DataObject
) -> None:
    toy = Toy(tmp_path_factory.mktemp("toy"))
    ways = [data.draw(st.sampled_from([*WAYS.values()])) for _ in imports]
    names = data.draw(st.permutations([f"m{at}" for at in range(len(imports))]))
    edited = data.draw(st.integers(0, len(imports) - 1))

    def digests(names: list[str], edited: int | None) -> list[str]:
        code = toy.code(
            {
                f"toy.{names[at]}": "\n".join(
                    [
                        *(ways[at].format("toy", names[to]) for to in sorted(below, key=lambda to: names[to])),
                        f"value = {at}{' + 1' * (at == edited)}",
                    ]
                )
                for at, below in enumerate(imports)
            }
        )
        return [code.digest(f"toy.{name}") for name in names]

    def reaches(at: int) -> bool:
        return at == edited or any(reaches(to) for to in imports[at])

    before, after = digests(names, None), digests(names, edited)
    assert [old != new for old, new in zip(before, after, strict=True)] == [reaches(at) for at in range(len(imports))]


def test_an_import_for_type_checkers_does_not_count(toy: Toy) -> None:
    main = "import typing as t\nif t.TYPE_CHECKING:\n    from toy.types import T\nelse:\n    from toy.real import T"
    files = {"toy.main": main, "toy.types": "T = int", "toy.real": "T = int"}
    code = toy.code(files)
    assert code.closure("toy.main") == {"toy", "toy.main", "toy.real"}
    before = code.digest("toy.main")
    assert toy.digest(files | {"toy.types": "T = str"}) == before
    assert toy.digest(files | {"toy.real": "T = str"}) != before


TEMPLATES = {
    "toy.main": "from toy.page.write import write",
    "toy.page.write": "def write():\n    return load('page.j2')",
    "toy/page/page.j2": "<p>{% include 'part.j2' %}</p>",
    "toy/page/part.j2": "part",
    "toy/page/other.j2": "other",
    "toy/other/page.j2": "elsewhere",
}


@pytest.mark.parametrize(
    ("template", "counts"), [("page/page", True), ("page/part", True), ("page/other", False), ("other/page", False)]
)
def test_a_template_counts_if_a_module_beside_it_names_it(toy: Toy, template: str, counts: bool) -> None:
    before = toy.digest(TEMPLATES)
    assert (toy.digest(TEMPLATES | {f"toy/{template}.j2": "edited"}) != before) == counts


def test_a_computed_name_counts_every_template_that_matches(toy: Toy) -> None:
    named = TEMPLATES | {"toy.page.write": "def write(name):\n    return load(f'{name}.j2')"}
    assert toy.digest(named | {"toy/page/other.j2": "edited"}) != toy.digest(named)


def test_templates_move_with_their_module(toy: Toy) -> None:
    moved = {
        name.replace("page/", "view/").replace("page.write", "view.write"): text for name, text in TEMPLATES.items()
    }
    moved["toy.main"] = moved["toy.main"].replace("toy.page", "toy.view")
    assert toy.digest(moved) == toy.digest(TEMPLATES)


def test_code_that_a_package_runs_counts_and_names_that_it_only_offers_do_not(toy: Toy) -> None:
    def digest(main: str, ran: str = "", offered: str = "1", value: int = 1) -> str:
        lazy = f"{ran}\ndef __getattr__(name):\n    from toy.big import value\n    return value + {offered}\n"
        code = toy.code({"toy.main": main, "toy.low.a": "x = 1", "toy.big": f"value = {value}"})
        (toy.root / "toy/low/__init__.py").write_text(lazy, encoding="utf-8")
        return code.digest("toy.main")

    passes, asks = "from toy.low.a import x", "from toy.low import value"
    assert digest(passes, ran="import os") != digest(passes)
    assert digest(passes, offered="2", value=2) == digest(passes)
    assert digest(asks, offered="2") != digest(asks) != digest(asks, value=2)


@pytest.mark.parametrize("package", ["toy.low", ""], ids=["absolute", "relative"])
def test_a_package_may_import_its_modules(toy: Toy, package: str) -> None:
    def digest(value: int) -> str:
        code = toy.code({"toy.main": "from toy.low.a import x", "toy.low.a": "x = 1", "toy.low.b": f"y = {value}"})
        gathers = f"from {package}.a import x\nfrom {package}.b import y\n"
        (toy.root / "toy/low/__init__.py").write_text(gathers, encoding="utf-8")
        return code.digest("toy.main")

    assert digest(1) == digest(1) != digest(2)


def test_modules_that_import_each_other_are_refused_by_name(toy: Toy) -> None:
    code = toy.code({"toy.main": "import toy.a", "toy.a": "def f():\n    import toy.b", "toy.b": "from toy.a import f"})
    with pytest.raises(UserError, match=r"toy\.a -> toy\.b -> toy\.a"):
        code.digest("toy.main")
    assert code.closure("toy.main") == {"toy", "toy.main", "toy.a", "toy.b"}


@pytest.mark.parametrize("text", ["def f(:", "x = '\udcff'", "\0"], ids=["syntax", "encoding", "null"])
def test_a_module_that_python_cannot_read_is_named(toy: Toy, text: str) -> None:
    code = toy.code({"toy.main": "import toy.a", "toy.a": ""})
    (toy.root / "toy/a.py").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(UserError, match=r"toy/a\.py"):
        code.digest("toy.main")


def test_an_unknown_module_is_named(toy: Toy) -> None:
    with pytest.raises(UserError, match=r"toy\.nothing"):
        toy.digest(TOY, also=("toy.nothing",))


def test_a_module_loaded_by_name_counts_for_the_stage_that_loads_it(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code_digest, "LOADED_BY_NAME", {"train": ["toy.methods.{method[name]}"]})
    files = {"stages/train.py": "import toy.below", "stages/other.py": "import toy.below", **TOY}
    files |= {"toy.methods.lwf": "import toy.deeper", "toy.deeper": "x = 1", "toy.methods.zscl": "x = 2"}

    def digests(method: str, **edited: str) -> dict[str, str]:
        toy.code(files | {name.replace("_", "."): text for name, text in edited.items()})
        code = Code({"toy": toy.root / "toy", "stages": toy.root / "stages"})
        return {stage: stage_digest(code, stage, {"method": {"name": method}}) for stage in ("train", "other")}

    before = digests("lwf")
    assert digests("lwf", toy_methods_zscl="x = 3") == before
    for after in (digests("zscl"), digests("lwf", toy_deeper="x = 3")):
        assert after["train"] != before["train"]
        assert after["other"] == before["other"]


def test_a_whole_package_loaded_by_name_counts_with_each_of_its_modules(
    toy: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(code_digest, "LOADED_BY_NAME", {"embed": ["toy.signals.*"]})
    files = {"stages/embed.py": "", "stages/train.py": "", "toy.signals.words": "x = 1"}

    def digests(more: dict[str, str]) -> list[str]:
        toy.code(files | more)
        code = Code({"toy": toy.root / "toy", "stages": toy.root / "stages"})
        return [stage_digest(code, stage, {}) for stage in ("embed", "train")]

    before, edited = digests({}), digests({"toy.signals.words": "x = 2"})
    added = digests({"toy.signals.words": "x = 1", "toy.signals.prior": "x = 1"})
    assert before[0] != edited[0] != added[0] != before[0]
    assert before[1] == edited[1] == added[1]


VERSIONS = r'''
x, w, name = 1.5, 3, "é\u200b𝄞"
print(f"{x:>{w}}", f"{x!r:^{w}.{w}}", f"a{{b}}{x=}" "c" f"{name}", f'{x:%Y-%m}', f"\n{x}\t", rf"\d{x}", f"{x:}", f"")
print(f"""
  {x}  {w:{x}{w}}
""", b"\xff", 1_000, 1e300, 1j, ..., -0.0, u"u", f"{(lambda q: q)(x)}", f"{x}" f"{w}" "", "" f"{x!a}", f"{x = !s}")
async def f(a, /, b=1, *c, d: int = 2, **e) -> "str":
    match a:
        case [1, *_] | {"k": None, **r} if b: return
        case int(x=3) as y: pass
    try: pass
    except* ValueError: pass
    d = {**e, 1: 2}
    with a as b, c: [i async for i in x] if 0 else a[1:, ::2, ...]
    return a[*c]
'''


def test_the_digest_is_the_same_under_every_python(toy: Toy) -> None:
    """Python 3.11, 3.12 and 3.13 gave this value, although their syntax trees of f-strings differ."""
    assert toy.digest({"toy.main": VERSIONS}) == "222c37b5d816c6a3ef22224acdd3850ad1c94a186814205d6a2e92c41614931c"


@pytest.fixture(scope="module")
def stages() -> dict[str, str]:
    """The digests of the real stages."""
    return _real(CODE)


def _real(code: Code) -> dict[str, str]:
    return {name: code.digest(name) for name in code.modules() if name.startswith("stages.")}


def test_the_real_code_rewritten_from_its_syntax_has_the_same_digests(tmp_path: Path, stages: dict[str, str]) -> None:
    """Other quotes, line breaks and brackets, no comments."""
    copy = _copied(tmp_path)
    for file in tmp_path.rglob("*.py"):
        file.write_text(ast.unparse(ast.parse(file.read_text(encoding="utf-8"))), encoding="utf-8")
    assert _real(copy) == stages


def test_a_real_module_moved_has_the_same_digests(tmp_path: Path, stages: dict[str, str]) -> None:
    copy = _copied(tmp_path)
    for folder in (tmp_path / "structalign/ground", tmp_path / "structalign/ground/disk"):
        folder.mkdir()
        (folder / "__init__.py").touch()
    (tmp_path / "structalign/store.py").rename(tmp_path / "structalign/ground/disk/files.py")
    for file in tmp_path.rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        file.write_text(re.sub(r"\bstructalign\.store\b", "structalign.ground.disk.files", text), encoding="utf-8")
    assert _real(copy) == stages


def test_an_installed_library_has_the_digests_of_the_source(tmp_path: Path) -> None:
    _copied(tmp_path)
    shutil.rmtree(tmp_path / "stages")
    program = "from structalign.code_digest import Code; print(Code().digest('structalign.report.page'))"
    installed = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-P", "-c", program], env=installed, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == CODE.digest("structalign.report.page")


def _copied(folder: Path) -> Code:
    for package in PACKAGES:
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    return Code({package: folder / package for package in PACKAGES})
