"""The examples in docstrings are right."""

import doctest
from importlib import import_module

import pytest
from codemap import CODE, modules

EXAMPLES = sorted(name for name in modules() if (file := CODE.file(name)) is not None and ">>> " in file.read_text())


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_examples_of_a_module_run(name: str) -> None:
    found = doctest.testmod(import_module(name))
    assert found.attempted > 0
    assert found.failed == 0
