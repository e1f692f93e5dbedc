"""`python tests/mutation.py` makes small changes to the core. Some quick test must notice each of them.

A mutant changes one operator, constant or condition. It is killed if a test of its package
fails, among those that `make check` runs. The seed fixes the sample. Survivors are printed with their diff. Survivors
that change nothing relevant are explained in mutants.yaml.

    python tests/mutation.py --count 200 --seed 0
"""

import argparse
import ast
import difflib
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path

from codemap import ROOT

from structalign.strict_yaml import load_yaml

CORE = (
    "learning/losses.py",
    "learning/etf.py",
    "learning/memory.py",
    "search/similarity.py",
    "search/similarity_heads.py",
    "search/fusion.py",
    "search/signal.py",
    "search/signals/words.py",
    "search/signals/sentence.py",
    "search/signals/task_prior.py",
    "evaluation/metrics.py",
    "evaluation/ranks.py",
    "model/adapters.py",
    "model/features.py",
    "model/views.py",
    "data/video.py",
    "data/captions.py",
    "data/importers/split_files.py",
)
LIBRARIES = (
    "torch",
    "transformers.models.clip.modeling_clip",
    "transformers.models.clip.tokenization_clip",
    "pydantic",
    "rich.table",
    "safetensors.torch",
    "torchmetrics",
    "typer",
)
EXPLAINED = Path(__file__).with_name("mutants.yaml")
WANTED = 0.9  # of the mutants that change something
SECONDS = 400  # processor time of the tests of a mutant; those of a package take up to 100
MEMORY = 12 * 2**30  # bytes of address space: a mutant may ask for all there is
SWAPPED: dict[type, type] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.And: ast.Or,
    ast.Or: ast.And,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}


@dataclass(frozen=True)
class Mutant:
    """A file of the library with one changed expression. name: file, function, old and new code."""

    file: str
    name: str
    text: str

    @property
    def package(self) -> str:
        """The folder of the file's tests."""
        return "tests/" + self.file.split("/")[1]

    def diff(self) -> str:
        """The change as a patch without context."""
        before = (ROOT / self.file).read_text(encoding="utf-8")
        return "".join(difflib.unified_diff(before.splitlines(True), self.text.splitlines(True), n=0)).partition(
            "@@\n"
        )[2]


def mutants(file: str, source: str) -> list[Mutant]:
    """All mutants of a file, in the order of its lines."""
    found: list[Mutant] = []
    for where, node in _expressions(ast.parse(source)):
        for new in _changes(node):
            text = _replaced(source, node, ast.unparse(new))
            name = f"{file} {where}: {ast.unparse(node)} -> {ast.unparse(new)}"
            found.append(Mutant(file, name, text))
    return _numbered(found)


def _numbered(found: list[Mutant]) -> list[Mutant]:
    """Append a number to repeated names, from 2."""
    seen: Counter[str] = Counter()
    numbered = []
    for mutant in found:
        seen[mutant.name] += 1
        count = seen[mutant.name]
        numbered.append(replace(mutant, name=f"{mutant.name} ({count})") if count > 1 else mutant)
    return numbered


def _expressions(tree: ast.AST, where: str = "module") -> Iterator[tuple[str, ast.expr]]:
    """Each expression with an effect and its function, without annotations and texts."""
    for field, value in ast.iter_fields(tree):
        if field in ("annotation", "returns", "decorator_list") or isinstance(tree, ast.JoinedStr):
            continue
        for node in value if isinstance(value, list) else [value]:
            if not isinstance(node, ast.AST) or isinstance(node, ast.Raise):
                continue
            inside = where
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                inside = f"{where}.{node.name}".removeprefix("module.")
            if isinstance(node, ast.expr):
                yield inside, node
            yield from _expressions(node, inside)


def _changes(node: ast.expr) -> Iterator[ast.expr]:
    match node:
        case ast.BinOp(left, op, right) if type(op) in SWAPPED:
            yield ast.BinOp(left, SWAPPED[type(op)](), right)
        case ast.BoolOp(op, values):
            yield ast.BoolOp(SWAPPED[type(op)](), values)
        case ast.Compare(left, [op], [right]) if type(op) in SWAPPED:
            yield ast.Compare(left, [SWAPPED[type(op)]()], [right])
        case ast.UnaryOp(ast.Not() | ast.USub(), operand):
            yield operand
        case ast.IfExp(test, body, orelse):
            yield ast.IfExp(ast.UnaryOp(ast.Not(), test), body, orelse)
        case ast.Constant(bool() as value):
            yield ast.Constant(not value)
        case ast.Constant(int() as value):
            yield ast.Constant(value + 1)
        case ast.Constant(float() as value):
            yield ast.Constant(value * 2 if value else 1.0)


def _replaced(source: str, node: ast.expr, new: str) -> str:
    """The source with one replaced expression. Columns count bytes."""
    lines = [line.encode() for line in source.splitlines(keepends=True)]
    assert node.end_lineno is not None
    assert node.end_col_offset is not None
    head = b"".join(lines[: node.lineno - 1]) + lines[node.lineno - 1][: node.col_offset]
    tail = lines[node.end_lineno - 1][node.end_col_offset :] + b"".join(lines[node.end_lineno :])
    return (head + f"({new})".encode() + tail).decode()


def conditions(file: str, source: str) -> list[Mutant]:
    """All mutants that negate a condition of `if` or `while`."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.If | ast.While):
            before = ast.unparse(node.test)
            found.append(Mutant(file, f"{file} if {before} -> not", _replaced(source, node.test, f"not ({before})")))
    return _numbered(found)


def sample(count: int, seed: int) -> list[Mutant]:
    """`count` mutants of the core, spread over its files in proportion to their numbers."""
    found = []
    for name in CORE:
        file = f"structalign/{name}"
        source = (ROOT / file).read_text(encoding="utf-8")
        found += mutants(file, source) + conditions(file, source)
    return random.Random(seed).sample(found, min(count, len(found)))


def tests_of(file: str) -> list[str]:
    """A file's tests first, then all tests of its package, so that most mutants are killed in seconds."""
    _, package, *_, name = file.split("/")
    own = sorted(
        path.relative_to(ROOT).as_posix() for path in (ROOT / "tests" / package).rglob(f"test_{name[:-3]}*.py")
    )
    return [*own, f"tests/{package}"]


def copy_tree(folder: Path) -> None:
    """Copy the working tree's files in git, and the data of `dvc pull data`."""
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True)
    for name in listed.stdout.decode().splitlines():
        if not name.startswith("sample-remote/") and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
    if (ROOT / "data").is_dir():
        (folder / "data").symlink_to(ROOT / "data")


def run(folder: Path, tests: list[str], seconds: int) -> tuple[int, float, str]:
    """Run tests in a fork of this process. Returns exit code, CPU seconds and the last lines.

    The fork has the imported libraries, and keeps the tests' side effects apart.
    """
    log = folder / "tests.log"
    child = os.fork()
    if child == 0:
        with log.open("w") as stream:
            os.dup2(stream.fileno(), 1)
            os.dup2(stream.fileno(), 2)
        os.setsid()
        os.chdir(folder)
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        sys.path[:0] = [str(folder), str(folder / "tests")]
        for name in [name for name in sys.modules if name.split(".")[0] in ("structalign", "codemap")]:
            del sys.modules[name]  # those of the working tree
        import pytest

        options = [
            "-q",
            "-x",
            "-m",
            "not slow",
            "-p",
            "no:cacheprovider",
            "-p",
            "no:xdist",
            "-W",
            "ignore::pytest.PytestAssertRewriteWarning",
            "--hypothesis-seed=0",
        ]
        code = 3
        try:
            code = int(pytest.main([*options, *tests]))
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    _, status, used = os.wait4(child, 0)
    return os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime, log.read_text(errors="replace")[-400:]


def judge(mutant: Mutant, folder: Path) -> dict[str, object]:
    """Run the tests of a mutant. Returns the outcome."""
    target = folder / mutant.file
    whole = target.read_bytes()
    target.write_text(mutant.text, encoding="utf-8")
    try:
        code, used, last = run(folder, tests_of(mutant.file), SECONDS)
    finally:
        target.write_bytes(whole)
    by = next((line for line in last.splitlines() if line.startswith(("FAILED", "ERROR"))), f"exit {code}")
    return {"name": mutant.name, "file": mutant.file, "killed": code != 0, "by": by if code else "", "seconds": used}


def refuse_failing(folder: Path, packages: list[str]) -> None:
    """Stop if the tests of a package fail without a mutant."""
    for package in packages:
        code, _, last = run(folder, [package], SECONDS)
        if code:
            raise SystemExit(f"{package} fails without a mutant:\n{last}")


def explained() -> dict[str, str]:
    """The explained survivors: the reason for each, by name."""
    return {row["mutant"]: row["reason"] for row in load_yaml(EXPLAINED)} if EXPLAINED.exists() else {}


def main() -> None:
    """Judge a sample of mutants. Exit 1 if too many survive, or if a survivor is not explained."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="judge those from this number of the sample on")
    parser.add_argument("--last", type=int, default=None, help="judge those before this number")
    parser.add_argument("--only", default="", help="judge those whose name holds this text")
    parser.add_argument(
        "--results", type=Path, default=Path(".scratch/mutation.jsonl"), help="a line is added for each"
    )
    parser.add_argument("--trust", action="store_true", help="`make check` has passed: do not begin with it")
    options = parser.parse_args()
    sys.dont_write_bytecode = True  # a file that changes twice in a second would be taken from the cache
    for name in LIBRARIES:
        import_module(name)
    chosen = [m for m in sample(options.count, options.seed)[options.first : options.last] if options.only in m.name]
    options.results.parent.mkdir(exist_ok=True)
    reasons, results, begun = explained(), [], time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mutation") as name:
        folder = Path(name).resolve()
        copy_tree(folder)
        if not options.trust:
            refuse_failing(folder, sorted({mutant.package for mutant in chosen}))
        for number, mutant in enumerate(chosen, options.first):
            result = judge(mutant, folder)
            results.append(result)
            with options.results.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(result) + "\n")
            word = "killed  " if result["killed"] else "explained" if mutant.name in reasons else "SURVIVED"
            print(f"{number} {word} {result['seconds']:.1f} s {mutant.name} {result['by']}", flush=True)
            if not result["killed"]:
                print(mutant.diff(), flush=True)
    report(results, reasons, time.monotonic() - begun)


def report(results: list[dict[str, object]], reasons: dict[str, str], seconds: float) -> None:
    """Print the killed mutants and survivors of each file. Exit 1 if too many survive."""
    for file in dict.fromkeys(str(result["file"]) for result in sorted(results, key=lambda r: str(r["file"]))):
        here = [result for result in results if result["file"] == file]
        print(f"{file}: {sum(bool(result['killed']) for result in here)} of {len(here)} killed")
    killed = sum(bool(result["killed"]) for result in results)
    open_ = [result["name"] for result in results if not result["killed"] and result["name"] not in reasons]
    print(f"{killed} of {len(results)} killed, {len(results) - killed - len(open_)} explained, {len(open_)} open")
    print(f"{seconds / 60:.1f} minutes")
    raise SystemExit(killed < WANTED * len(results) or bool(open_))


if __name__ == "__main__":
    main()
