"""The registry and the loader of methods: one file for each method, and only the chosen one is imported."""

import subprocess
import sys

import pytest
from codemap import CODE, ROOT
from pydantic import ValidationError

from structalign.code_digest import LOADED_BY_NAME
from structalign.errors import UserError
from structalign.learning.loading import load_method
from structalign.params.method import METHODS, MethodName

FILES = {file.stem for file in (ROOT / "structalign/learning/methods").glob("[!_]*.py")}
PACKAGE = "structalign.learning.methods"


def methods_in(modules: set[str]) -> set[str]:
    return {name.removeprefix(f"{PACKAGE}.") for name in modules if name.startswith(f"{PACKAGE}.")}


def test_every_file_is_registered_and_every_registered_method_is_a_file() -> None:
    assert set(METHODS) == FILES


def test_an_unknown_method_is_answered_with_the_known_ones() -> None:
    with pytest.raises(UserError, match=f"'magic'.*{', '.join(sorted(METHODS))}"):
        load_method("magic")
    with pytest.raises(ValidationError, match="the methods are structalign, finetune"):
        MethodName(name="magic")


@pytest.mark.parametrize("name", ["__init__", "structalign.py", "../loading", ""])
def test_a_module_that_is_no_method_file_is_refused(name: str) -> None:
    with pytest.raises(UserError, match="is not a method"):
        load_method(name)


@pytest.mark.parametrize("name", METHODS)
def test_training_only_depends_on_the_code_of_its_own_method(name: str) -> None:
    """And on the methods that it extends."""
    loaded = [module.format_map({"method": {"name": name}}) for module in LOADED_BY_NAME["train"]]
    assert methods_in(CODE.closure("stages.train", loaded)) == methods_in(CODE.closure(f"{PACKAGE}.{name}"))


@pytest.mark.parametrize("name", METHODS)
def test_training_depends_on_no_ranking_signal(name: str) -> None:
    modules = CODE.closure("stages.train", [f"{PACKAGE}.{name}"])
    ranking = ("structalign.search.signal", "structalign.search.fusion", "structalign.params.ranking")
    assert not [module for module in modules if module.startswith(ranking)]


def test_joint_only_depends_on_finetune() -> None:
    assert methods_in(CODE.closure("stages.joint")) == {"finetune"}


@pytest.mark.parametrize("stage", ["check", "embed", "evaluate", "report"])
def test_no_other_stage_depends_on_a_method(stage: str) -> None:
    assert not methods_in(CODE.closure(f"stages.{stage}"))


def test_loading_a_method_imports_no_other() -> None:
    look = "import sys; from structalign.learning.loading import load_method; load_method('lwf'); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", look], cwd=ROOT, capture_output=True, text=True, check=True)
    assert methods_in(set(done.stdout.split())) == {"lwf"}


def test_zero_shot_trains_nothing() -> None:
    assert load_method("zero_shot").trains == ()


def test_finetune_only_has_the_contrastive_loss() -> None:
    assert [term.name for term in load_method("finetune").terms] == ["contrastive"]
