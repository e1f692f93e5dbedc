"""The mutants of `python tests/mutation.py` are different programs with unique names, and a seed fixes their sample."""

import ast

import mutation
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


def test_the_tests_of_a_file_come_before_those_of_its_package() -> None:
    first, *_, last = mutation.tests_of("structalign/learning/losses.py")
    assert (first, last) == ("tests/learning/test_losses.py", "tests/learning")
