"""The mutants of `python tests/mutation.py` are different programs with unique names, and a seed fixes their sample."""

import ast

import mutation
import pytest
from codemap import ROOT

EVERYTHING = mutation.sample(10**6, seed=0)


def test_each_mutant_is_a_program_that_differs_in_one_place() -> None:
    for mutant in EVERYTHING:
        before = (ROOT / mutant.file).read_text(encoding="utf-8")
        assert ast.dump(ast.parse(mutant.text)) != ast.dump(ast.parse(before)), mutant.name


def test_each_mutant_has_a_unique_name() -> None:
    names = [mutant.name for mutant in EVERYTHING]
    assert len(set(names)) == len(names)


def test_operators_constants_and_conditions_are_changed() -> None:
    source = "def f(a: int = 1) -> int:\n    if a < 2 and not a:\n        return -a * 3\n    return a\n"
    found = [mutant.text for mutant in [*mutation.mutants("f.py", source), *mutation.conditions("f.py", source)]]
    lines = {line for text in found for line in text.splitlines()} - set(source.splitlines())
    assert lines == {
        "def f(a: int = (2)) -> int:",
        "    if (a < 2 or not a):",
        "    if (a <= 2) and not a:",
        "    if a < (3) and not a:",
        "    if a < 2 and (a):",
        "    if (not (a < 2 and (not a))):",
        "        return (-a / 3)",
        "        return (a) * 3",
        "        return -a * (4)",
    }


def test_the_same_seed_gives_the_same_sample() -> None:
    assert [mutant.name for mutant in mutation.sample(20, 3)] == [mutant.name for mutant in mutation.sample(20, 3)]


def test_every_explained_mutant_still_exists() -> None:
    assert set(mutation.explained()) <= {mutant.name for mutant in EVERYTHING}
    assert all(mutation.explained().values())


SOURCE = """LIMIT = 1

def f():
    def g():
        return 1
    return g() + 2
"""


def test_a_line_is_in_its_innermost_function() -> None:
    assert [mutation.function_at(SOURCE, line) for line in (1, 3, 5, 6)] == ["", "3", "4", "3"]


LOSSES = "structalign/learning/losses.py"
TEXT = (ROOT / LOSSES).read_text(encoding="utf-8")
LINE = str(max(first for first, _, _ in mutation.functions(TEXT)))


@pytest.fixture
def reached() -> mutation.Reached:
    """Three tests, of which two run the last function of losses.py."""
    seconds = {"tests/learning/test_memory.py::a": 0.1, "tests/learning/test_losses.py::b": 9.0, "tests/x.py::c": 0.2}
    return mutation.Reached({LOSSES: {LINE: [*seconds][:2]}}, seconds)


def test_only_tests_that_run_the_function_are_tried_and_those_of_its_file_first(reached: mutation.Reached) -> None:
    mutant = mutation.Mutant(LOSSES, "a change", TEXT, int(LINE))
    assert reached.of(mutant) == ["tests/learning/test_losses.py::b", "tests/learning/test_memory.py::a"]


def test_all_tests_are_tried_outside_functions(reached: mutation.Reached) -> None:
    assert set(reached.of(mutation.Mutant(LOSSES, "a change", TEXT, 1))) == {*reached.seconds}
