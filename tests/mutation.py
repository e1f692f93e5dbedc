"""`python tests/mutation.py` makes small changes to the core. Some quick test must notice each of them.

A mutant changes one operator, constant or condition. It is killed if a test of its package fails, among those that
`make check` runs. Only the tests that run the changed function are tried: a first run without a mutant tells which.
The seed fixes the sample. Survivors are printed with their diff. Survivors that change nothing relevant are explained
in mutants.yaml.

    python tests/mutation.py --count 200 --seed 0
    python tests/mutation.py --resume   # goes on after a stop, and judges the survivors again
"""

import argparse
import ast
import difflib
import hashlib
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path

import pytest
from codemap import ROOT
from coverage import Coverage

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
    "search/signals/word_prior.py",
    "evaluation/metrics.py",
    "evaluation/ranks.py",
    "model/adapters.py",
    "model/features.py",
    "model/views.py",
    "data/video.py",
    "data/captions.py",
    "data/importers/split_files.py",
)
LIBRARIES = (  # those that take long to import
    "torch",
    "transformers.models.clip.modeling_clip",
    "transformers.models.clip.tokenization_clip",
    "fastapi",
    "hydra",
    "hypothesis",
    "pydantic",
    "rich.table",
    "safetensors.torch",
    "torchmetrics",
    "typer",
)
EXPLAINED = Path(__file__).with_name("mutants.yaml")
WANTED = 0.9  # of the mutants that change something
SECONDS = 200  # processor time of the tests of a mutant; those of a package take up to 100
SCRATCH = Path(".scratch")
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
    """A file of the library with one changed expression. name: file, function, old and new code. line: its number."""

    file: str
    name: str
    text: str
    line: int

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
            found.append(Mutant(file, name, text, node.lineno))
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
    for name, value in ast.iter_fields(tree):
        if name in ("annotation", "returns", "decorator_list") or isinstance(tree, ast.JoinedStr):
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
            text = _replaced(source, node.test, f"not ({before})")
            found.append(Mutant(file, f"{file} if {before} -> not", text, node.test.lineno))
    return _numbered(found)


def sample(count: int, seed: int) -> list[Mutant]:
    """`count` mutants of the core. A change of one file replaces only mutants of this file."""
    found = []
    for name in CORE:
        file = f"structalign/{name}"
        source = (ROOT / file).read_text(encoding="utf-8")
        found += mutants(file, source) + conditions(file, source)
    return sorted(found, key=lambda mutant: hashlib.sha256(f"{seed} {mutant.name}".encode()).digest())[:count]


def functions(source: str) -> list[tuple[int, int, int]]:
    """The first line of each function, the first line of its body, and its last line."""
    found = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)]
    return [(node.lineno, node.body[0].lineno, node.end_lineno or node.lineno) for node in found]


def function_at(source: str, line: int) -> str:
    """The first line of the innermost function around a line, as a key of JSON. Empty outside functions."""
    around = [first for first, _, last in functions(source) if first <= line <= last]
    return str(max(around)) if around else ""


@dataclass(eq=False)  # pytest keeps its plugins in a set
class Reach:
    """A pytest plugin that notes which tests run which function of the core, themselves or by a fixture."""

    coverage: Coverage
    fixtures: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))  # the tests that use it
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))  # of each test
    context: str = ""

    def _within(self, context: str) -> Generator[None, object, object]:
        before, self.context = self.context, context
        self.coverage.switch_context(context)
        try:
            return (yield)
        finally:
            self.context = before
            self.coverage.switch_context(before)

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: "pytest.FixtureDef[object]") -> Generator[None, object, object]:
        return (yield from self._within(f"fixture {fixturedef.argname}"))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Function) -> Generator[None, object, object]:
        for name in item.fixturenames:
            self.fixtures[f"fixture {name}"].append(item.nodeid)
        return (yield from self._within(item.nodeid))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seconds[report.nodeid] += report.duration

    def tests(self, folder: Path) -> dict[str, dict[str, list[str]]]:
        """By file and first line of a function, the tests that run it. A function that an import runs is left out."""
        found: dict[str, dict[str, list[str]]] = {}
        for file in (f"structalign/{name}" for name in CORE):
            by_line = self.coverage.get_data().contexts_by_lineno(str(folder / file))
            found[file] = {}
            for first, begin, last in functions((folder / file).read_text(encoding="utf-8")):
                contexts = {context for line in range(begin, last + 1) for context in by_line.get(line, [])}
                if contexts and "" not in contexts:
                    found[file][str(first)] = sorted({t for c in contexts for t in self.fixtures.get(c, [c])})
        return found


@dataclass(frozen=True)
class Reached:
    """What `Reach` noted in the tests of a package."""

    tests: dict[str, dict[str, list[str]]]
    seconds: dict[str, float]

    def of(self, mutant: Mutant) -> list[str]:
        """The tests that run a mutant's function, the quickest first, and before all others those named after its file.

        All tests of the package for code outside functions, or if no test runs the function in its own process.
        """
        source = (ROOT / mutant.file).read_text(encoding="utf-8")
        chosen = self.tests[mutant.file].get(function_at(source, mutant.line)) or [*self.seconds]
        own = f"test_{Path(mutant.file).stem}"
        return sorted(chosen, key=lambda test: (own not in test, self.seconds[test], test))


@dataclass(eq=False)
class Chosen:
    """A pytest plugin that runs only these tests, in this order."""

    tests: list[str]

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        rank = {test: number for number, test in enumerate(self.tests)}
        items[:] = sorted((item for item in items if item.nodeid in rank), key=lambda item: rank[item.nodeid])


def copy_tree(folder: Path) -> None:
    """Copy the working tree's files in git, and the data of `dvc pull data`."""
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True)
    for name in listed.stdout.decode().splitlines():
        if not name.startswith("sample-remote/") and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
    if (ROOT / "data").is_dir():
        (folder / "data").symlink_to(ROOT / "data")


def run(folder: Path, body: Callable[[], int]) -> tuple[int, float, str]:
    """Run a function in a fork of this process. Returns exit code, CPU seconds and the last lines.

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
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 5))
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        sys.path[:0] = [str(folder), str(folder / "tests")]
        for name in [name for name in sys.modules if name.split(".")[0] in ("structalign", "codemap")]:
            del sys.modules[name]  # those of the working tree
        code = 3
        try:
            code = body()
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    _, status, used = os.wait4(child, 0)
    return os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime, log.read_text(errors="replace")[-400:]


def run_tests(paths: list[str], plugin: object) -> int:
    """Run the quick tests of some files or folders. Returns pytest's exit code."""
    options = ["-q", "-x", "-m", "not slow", "-p", "no:cacheprovider", "-p", "no:xdist", "--hypothesis-seed=0"]
    return int(pytest.main([*options, "-W", "ignore::pytest.PytestAssertRewriteWarning", *paths], plugins=[plugin]))


def reach(folder: Path, package: str) -> Reached:
    """Which tests of a package run which function. Kept in `.scratch` until code or tests change.

    Stops if a test fails without a mutant.
    """
    read = sorted([*folder.glob("structalign/**/*.py"), *folder.glob("tests/*.py"), *folder.glob(f"{package}/**/*.py")])
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in read)).hexdigest()[:12]
    kept = SCRATCH.resolve() / f"reach-{Path(package).name}-{digest}.json"

    def noted() -> int:
        coverage = Coverage(data_file=None, config_file=False, source=[str(folder / "structalign")])
        plugin = Reach(coverage)
        coverage.start()
        code = run_tests([package], plugin)
        coverage.stop()
        if code == 0:
            kept.write_text(json.dumps({"tests": plugin.tests(folder), "seconds": plugin.seconds}), encoding="utf-8")
        return code

    if not kept.exists():
        code, used, last = run(folder, noted)
        if code:
            raise SystemExit(f"{package} fails without a mutant:\n{last}")
        print(f"{package}: the tests take {used:.0f} s", flush=True)
    return Reached(**json.loads(kept.read_text(encoding="utf-8")))


def judge(mutant: Mutant, folder: Path, tests: list[str]) -> dict[str, object]:
    """Run the tests of a mutant. Returns the outcome."""
    target = folder / mutant.file
    whole = target.read_bytes()
    target.write_text(mutant.text, encoding="utf-8")
    files = [*dict.fromkeys(test.partition("::")[0] for test in tests)]
    try:
        code, used, last = run(folder, lambda: run_tests(files, Chosen(tests)))
    finally:
        target.write_bytes(whole)
    by = next((line for line in last.splitlines() if line.startswith(("FAILED", "ERROR"))), f"exit {code}")
    return {"name": mutant.name, "file": mutant.file, "killed": code != 0, "by": by if code else "", "seconds": used}


def killed_before(results: Path) -> dict[str, dict[str, object]]:
    """The results of a stopped run, of the killed mutants by name."""
    lines = results.read_text(encoding="utf-8").splitlines() if results.exists() else []
    return {row["name"]: row for row in map(json.loads, lines) if row["killed"]}


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
    parser.add_argument("--results", type=Path, default=SCRATCH / "mutation.jsonl", help="a line is added for each")
    parser.add_argument("--resume", action="store_true", help="count those that `--results` calls killed")
    options = parser.parse_args()
    sys.dont_write_bytecode = True  # a file that changes twice in a second would be taken from the cache
    for name in LIBRARIES:
        import_module(name)
    chosen = [m for m in sample(options.count, options.seed)[options.first : options.last] if options.only in m.name]
    SCRATCH.mkdir(exist_ok=True)
    before = killed_before(options.results) if options.resume else {}
    reasons, results, begun = explained(), [], time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mutation") as name:
        folder = Path(name).resolve()
        copy_tree(folder)
        packages = sorted({mutant.package for mutant in chosen if mutant.name not in before})
        reached = {package: reach(folder, package) for package in packages}
        for number, mutant in enumerate(chosen, options.first):
            if mutant.name in before:
                results.append(before[mutant.name])
                continue
            result = judge(mutant, folder, reached[mutant.package].of(mutant))
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
