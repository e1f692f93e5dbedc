"""A stage's digest is read back while no file has changed since `check`, and computed otherwise."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from structalign import code_seen
from structalign.code_digest import Code, stage_digest
from structalign.code_seen import SEEN, digest_now, write_digests

STAGES = ("train", "other")
PARAMS = {"method": {"name": "one"}}


@pytest.fixture
def parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A small project whose digests are written to `seen`. The stages whose code was parsed since then."""
    files = {
        "stages/train.py": "import structalign.tools",
        "stages/other.py": "import structalign.tools",
        "structalign/tools.py": "X = 1  # before",
        "structalign/learning/methods/one.py": "Y = 1",
        "structalign/learning/methods/two.py": "Y = 2",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    packages, stages = {name: tmp_path / name for name in ("stages", "structalign")}, list[str]()

    def counted(code: Code, stage: str, params: dict[str, Any]) -> str:
        stages.append(stage)
        return stage_digest(code, stage, params)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(code_seen, "Code", lambda: Code(packages))
    (tmp_path / "seen").mkdir()
    write_digests(Path("seen"), Code(packages), STAGES, PARAMS)
    monkeypatch.setattr(code_seen, "stage_digest", counted)
    return stages


def here() -> Code:
    return Code({name: Path(name) for name in ("stages", "structalign")})


def now(stage: str, method: str = "one") -> str:
    return digest_now(stage, {"method": {"name": method}}, Path("seen"))


def test_without_an_edit_the_digest_is_read_back(parsed: list[str]) -> None:
    assert [now(stage) for stage in STAGES] == [Path("seen", stage).read_text().strip() for stage in STAGES]
    assert not parsed


def test_an_edit_while_check_runs_is_not_taken_for_what_check_saw(
    parsed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tools, code = Path("structalign/tools.py"), here()

    def edited_meanwhile(code: Code, stage: str, params: dict[str, Any]) -> str:
        found = stage_digest(code, stage, params)
        tools.write_text("X = 2")
        return found

    monkeypatch.setattr(code_seen, "stage_digest", edited_meanwhile)
    write_digests(Path("seen"), code, STAGES, PARAMS)
    monkeypatch.setattr(code_seen, "stage_digest", stage_digest)
    assert now("train") == stage_digest(here(), "train", PARAMS)


def test_a_folder_with_the_name_of_a_module_is_no_module(parsed: list[str]) -> None:
    Path("structalign/odd.py").mkdir()
    write_digests(Path("seen"), here(), STAGES, PARAMS)
    assert now("train") == Path("seen", "train").read_text().strip()


def test_an_edit_of_code_changes_the_digest_and_one_of_a_comment_does_not(parsed: list[str]) -> None:
    before, tools = now("other"), Path("structalign/tools.py")
    tools.write_text("X = 1  # after")
    assert now("other") == before
    tools.write_text("X = 2  # after")
    assert now("other") != before
    assert parsed == ["other", "other"]


@pytest.mark.parametrize("edit", ["add", "rename", "remove"])
def test_a_file_that_comes_or_goes_is_noticed(parsed: list[str], edit: str) -> None:
    file = Path("structalign/learning/methods/two.py")
    if edit == "add":
        file.with_name("__init__.py").touch()
    elif edit == "rename":
        file.rename(file.with_name("three.py"))
    else:
        file.unlink()
    now("other")
    assert parsed == ["other"]


def test_another_method_has_another_digest(parsed: list[str]) -> None:
    assert now("train", "two") != now("train")
    assert now("other", "two") == now("other")
    assert parsed == ["train"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda seen: seen.unlink(),
        lambda seen: seen.write_text(""),
        lambda seen: seen.write_text("[]"),
        lambda seen: seen.write_text(json.dumps({"source": json.loads(seen.read_text())["source"]})),
    ],
    ids=["missing", "empty", "a list", "half"],
)
def test_a_damaged_record_is_not_used(parsed: list[str], damage: Callable[[Path], object]) -> None:
    before = now("train")
    damage(Path("seen", SEEN))
    assert now("train") == before
    assert parsed == ["train"]
