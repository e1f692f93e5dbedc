"""A command that lacks an extra names the extra."""

import re
from importlib.metadata import requires

import pytest
import typer

from structalign.console import run
from structalign.errors import UserError
from structalign.extras import brought, lacking, require

IMPORTED = {"dvc": "pipeline", "psutil": "pipeline", "ruamel": "pipeline", "jinja2": "report", "matplotlib": "report"}


@pytest.mark.parametrize(("module", "extra"), IMPORTED.items())
def test_the_extra_of_a_module_is_named(module: str, extra: str) -> None:
    assert f"structalign[{extra}]" in str(lacking(f"{module}.below"))


def test_base_packages_and_foreign_modules_belong_to_no_extra() -> None:
    assert [lacking(name) for name in ("torch", "numpy", "typer", "nowhere")] == [None] * 4


def test_every_extra_except_that_of_the_tests_adds_packages() -> None:
    found = (re.search(r'extra == "(.+?)"', text) for text in requires("structalign") or [])
    declared = {extra[1] for extra in found if extra is not None}
    assert {extra for _, extra in brought()} == declared - {"test"}


def test_a_command_ends_with_the_extra_s_name(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    app = typer.Typer()

    @app.command()
    def compare() -> None:
        raise ModuleNotFoundError(name="dvc.repo")

    monkeypatch.setattr("sys.argv", ["structalign"])
    with pytest.raises(SystemExit) as end:
        run(app)
    said = capsys.readouterr().err
    assert (end.value.code, said.count("\n")) == (1, 1)
    assert "pip install 'structalign[pipeline]'" in said


def test_requiring_a_module_of_a_missing_extra_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"structalign\[pipeline\]"):
        require("dvc")


def test_a_missing_module_of_no_extra_stays_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    app = typer.Typer()

    @app.command()
    def broken() -> None:
        raise ModuleNotFoundError("nowhere", name="nowhere")

    monkeypatch.setattr("sys.argv", ["structalign"])
    with pytest.raises(ModuleNotFoundError, match="nowhere"):
        run(app)
