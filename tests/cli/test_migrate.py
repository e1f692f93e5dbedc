"""`structalign migrate` gives files of an older version this version's keys. Nothing else changes."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
from codemap import ROOT
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from structalign.cli.migrate import migrate
from structalign.cli.splicing import has, insert_after, remove, rename
from structalign.data.tasks import has_former_columns, read_tasks
from structalign.errors import UserError
from structalign.params import former
from structalign.params.losses import Pseudo
from structalign.params.schema import defaults, keys, validate
from structalign.params.section import leaves
from structalign.strict_yaml import dump_yaml, load_yaml, parse_yaml

OLD = ROOT / "tests/report/fixtures/a1d4c6b"
PRESET = """# Mine.
presets: [paper]
contrastive: {scale: 17.6, prior: 1}  # strong
method:
  task_prior: all
etf:
  # the release's
  "frame": gaussian   # not exact
"""
MIGRATED = """# Mine.
presets: [paper]
contrastive: {scale: 17.6, logit_adjustment: 1}  # strong
etf:
  # the release's
  vertices: gaussian  # not exact
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A committed project of revision a1d4c6b with a user's preset."""
    monkeypatch.chdir(tmp_path)
    for name in ("params.yaml", "tasks.yaml"):
        Path(name).write_bytes((OLD / name).read_bytes())
    Path("presets").mkdir()
    Path("presets/mine.yaml").write_text(PRESET, encoding="utf-8")
    Path("presets/untouched.yaml").write_text("crp: {weight: 2}\n", encoding="utf-8")
    git("init", "-q")
    commit()
    return tmp_path


def git(*arguments: str) -> str:
    identity = ("-c", "user.name=test", "-c", "user.email=test@example.org")
    return subprocess.run(["git", *identity, *arguments], capture_output=True, text=True, check=True).stdout


def commit() -> None:
    git("add", ".")
    git("commit", "-qm", "Work", "--allow-empty")


def edit(file: str, old: str, new: str) -> None:
    text = Path(file).read_text(encoding="utf-8")
    assert old in text
    Path(file).write_text(text.replace(old, new), encoding="utf-8")
    commit()


def params() -> dict[str, Any]:
    return dict(leaves(load_yaml(Path("params.yaml"))))


def test_migrated_params_are_valid_and_keep_their_effect(project: Path) -> None:
    before = params()
    migrate()
    validate(load_yaml(Path("params.yaml")))
    assert params() == defaults() | former.as_of_now(before)


def test_every_comment_of_params_stays_except_that_of_the_removed_key(project: Path) -> None:
    def comments() -> list[str]:
        lines = Path("params.yaml").read_text(encoding="utf-8").splitlines()
        return [comment for line in lines if (comment := line.partition("#")[2])]

    before = [comment for comment in comments() if "task prior, too" not in comment]
    migrate()
    added = [f" {keys()[key].meaning}" for key in defaults()]
    assert [comment for comment in comments() if comment not in added] == before


def test_tasks_lose_two_columns_and_nothing_else(project: Path) -> None:
    before, lines = read_tasks(), Path("tasks.yaml").read_text(encoding="utf-8").splitlines()
    migrate()
    assert not has_former_columns()
    assert read_tasks() == before
    kept = [line for line in lines if not line.startswith(("    crp:", "    pseudo:"))]
    assert Path("tasks.yaml").read_text(encoding="utf-8").splitlines() == kept


def test_a_preset_keeps_its_comments_and_its_base_presets(project: Path) -> None:
    migrate()
    assert Path("presets/mine.yaml").read_text(encoding="utf-8") == MIGRATED


def test_files_of_this_version_are_not_written(project: Path) -> None:
    migrate()
    assert "presets/untouched.yaml" not in git("status", "--porcelain")


def test_a_newer_section_is_added_with_the_defaults_of_its_keys(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if `pseudo` were new: its fields have defaults, and the file has no such section."""
    text = Path("params.yaml").read_text(encoding="utf-8")
    new = {"weight": 0, "scale": 17.6, "negatives": "mixed", "covariance": "radius", "mask_same_category": False}
    edit("params.yaml", text[text.index("pseudo:") : text.index("optim:")], "")
    for name, value in new.items():
        monkeypatch.setattr(Pseudo.model_fields[name], "default", value)
    migrate()
    assert load_yaml(Path("params.yaml"))["pseudo"] == new
    assert list(load_yaml(Path("params.yaml"))) == list(load_yaml(ROOT / "params.yaml"))


def test_a_second_migration_has_nothing_to_do(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    migrate()
    commit()
    capsys.readouterr()
    migrate()
    assert "nothing to do" in capsys.readouterr().out
    assert git("status", "--porcelain") == ""


def test_this_version_has_nothing_to_migrate(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    migrate(diff=True)
    assert "nothing to do" in capsys.readouterr().out


def test_diff_names_every_change_and_makes_none(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    migrate(diff=True)
    said = capsys.readouterr().out
    for change in (
        "etf.frame -> etf.vertices",
        "expected -> reference",
        "method.task_prior",
        "column crp",
        "mine.yaml",
    ):
        assert change in said
    assert git("status", "--porcelain") == ""


def test_migrate_says_what_to_do_next(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    migrate()
    said = capsys.readouterr().out
    assert "dvc repro" in said
    assert "Every stage runs once" in said


@pytest.mark.parametrize(
    ("method", "scope", "prior", "now"),
    [
        ("structalign", "own", 0.1, 0.1),
        ("finetune", "own", 0.1, 0),
        ("finetune", "all", 0.1, 0.1),
        ("zero_shot", "all", 0.1, 0),
        ("finetune", "own", 0, 0),
    ],
)
def test_the_task_prior_keeps_its_effect(project: Path, method: str, scope: str, prior: float, now: float) -> None:
    edit("params.yaml", "name: structalign ", f"name: {method} ")
    edit("params.yaml", "task_prior: own ", f"task_prior: {scope}  ")
    if prior != 0.1:
        edit("params.yaml", "task_prior: 0.1 ", f"task_prior: {prior} ")
    migrate()
    assert params()["ranking.task_prior"] == now


@pytest.mark.parametrize("file", ["params.yaml", "tasks.yaml", "presets/mine.yaml"])
def test_uncommitted_edits_are_refused_and_nothing_is_written(project: Path, file: str) -> None:
    Path(file).write_text(Path(file).read_text(encoding="utf-8") + "# mine\n", encoding="utf-8")
    with pytest.raises(UserError, match=f"{file} has uncommitted edits"):
        migrate()
    assert git("status", "--porcelain") == f" M {file}\n"


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        ("params.yaml", "experts: 5", "experts: 1", "`adapters.experts` = 1"),
        ("params.yaml", "  experts:", "  exprts:", "`adapters.exprts` is not a parameter"),
        ("params.yaml", "  frame: exact", "  vertices: exact\n  frame: exact", "remove `etf.frame`"),
        ("params.yaml", "task_prior: own ", "task_prior: [own] ", "`method.task_prior` is more than one value"),
        ("params.yaml", "  task_prior: 0.1 ", "  # task_prior: 0.1 ", "lacks `ranking.task_prior`"),
        ("params.yaml", "  task_prior: 0.1 ", "  task_prior: [1] ", "`ranking.task_prior` = [1]"),
        ("tasks.yaml", "    crp: crp\n", "    crp: other\n", "`tasks.t02.crp` = other"),
        ("presets/mine.yaml", "scale: 17.6", "scael: 17.6", "`contrastive.scael` is not a parameter"),
        ("presets/mine.yaml", PRESET, "method: {task_prior: all}\n", "presets/mine.yaml only sets method.task_prior"),
        ("presets/mine.yaml", "# Mine.", "seed: 010", "presets/mine.yaml, line 1: `seed` = 010"),
    ],
)
def test_an_invalid_file_stops_the_whole_migration(project: Path, file: str, old: str, new: str, said: str) -> None:
    edit("params.yaml", "name: structalign ", "name: finetune ")  # whose ranking.task_prior is rewritten
    edit(file, old, new)
    with pytest.raises(UserError) as refusal:
        migrate()
    assert said in str(refusal.value)
    assert file in str(refusal.value)
    assert git("status", "--porcelain") == ""


def test_a_failed_write_leaves_all_files_unchanged(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = Path.write_bytes

    def refuse(path: Path, data: bytes) -> int:
        if "mine" in path.name:
            raise PermissionError(13, "Permission denied")
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", refuse)
    with pytest.raises(UserError, match="could not be written"):
        migrate()
    assert git("status", "--porcelain") == ""


LINES = st.sampled_from(["\n", "\r\n", "\r"])
VALUES = st.sampled_from(["1", "own", "'a # b'", '"x"', "a\n      b"])
COMMENTS = st.sampled_from(["", " # mine", "   # a: 1", "  # {"])


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(VALUES, COMMENTS), min_size=2, max_size=4), st.data(), LINES)
def test_an_edit_changes_one_entry_and_no_other_character(
    entries: list[tuple[str, str]], data: st.DataObject, line: str
) -> None:
    place = data.draw(st.integers(0, len(entries) - 1))
    lines = [f"  k{i}: {value}{comment}" for i, (value, comment) in enumerate(entries)]
    text = "\n".join(["# first", "s:", *lines, "  # above the next", "t: 2  # last"])
    tree = parse_yaml(text, "text")
    gone = "\n".join(["# first", "s:", *lines[:place], *lines[place + 1 :], "  # above the next", "t: 2  # last"])
    ends = text.replace("\n", line)
    assert remove(ends, f"s.k{place}") == gone.replace("\n", line)
    renamed = parse_yaml(rename(ends, f"s.k{place}", "a_longer_name"), "text")
    assert list(renamed["s"].values()) == list(tree["s"].values())
    assert list(renamed["s"])[place] == "a_longer_name"
    assert rename(rename(ends, f"s.k{place}", "kk"), "s.kk", f"k{place}") == ends


@given(st.lists(st.integers(), min_size=2, max_size=5), st.data())
def test_only_the_named_entry_in_braces_is_removed(values: list[int], data: st.DataObject) -> None:
    tree: dict[str, Any] = {"s": {f"k{i}": value for i, value in enumerate(values)}, "t": 1}
    key = data.draw(st.sampled_from(sorted(tree["s"])))
    text = remove(dump_yaml(tree), f"s.{key}")
    del tree["s"][key]
    assert parse_yaml(text, "text") == tree


@pytest.mark.parametrize(
    ("text", "after"),
    [
        ("s:\n  k: 1  # one\n  # above\n  m: 2\n", "s:\n  k: 1  # one\n  new: a  # why\n  # above\n  m: 2\n"),
        ("s:\r\n    k: 1\r\nt: 1\r\n", "s:\r\n    k: 1\r\n    new: a  # why\r\nt: 1\r\n"),
        ("s:\n  k: 1", "s:\n  k: 1\n  new: a  # why"),
        ("s: {k: 1, m: 2}\n", "s: {k: 1, new: a, m: 2}\n"),
    ],
)
def test_an_entry_is_inserted_after_another(text: str, after: str) -> None:
    assert insert_after(text, "s.k", "new", "a", "why") == after


@pytest.mark.parametrize(
    ("text", "after"),
    [
        ("s:\n  k: 1  # one\n# two\nt: 2\n", "s:\n  k: 1  # one\nu:\n  new: 0  # why\n# two\nt: 2\n"),
        ("s:\r\n  r:\r\n    k: 1\r\n\r\n", "s:\r\n  r:\r\n    k: 1\r\nu:\r\n  new: 0  # why\r\n\r\n"),
        ("s: {k: 1}  # one\nt: 2\n", "s: {k: 1}  # one\nu:\n  new: 0  # why\nt: 2\n"),
        ("s:\n  k: 1", "s:\n  k: 1\nu:\n  new: 0  # why"),
        ("{s: {k: 1}, t: 2}\n", "{s: {k: 1}, u: {new: 0}, t: 2}\n"),
    ],
    ids=["block", "deep", "braces", "no end", "all in braces"],
)
def test_a_section_is_inserted_after_another(text: str, after: str) -> None:
    assert insert_after(text, "s", "u.new", "0", "why") == after


@pytest.mark.parametrize("text", ["s: {k: 1}\nt: 2\n", "s:\n  k: 1  # one\nt: 2\n"])
def test_removing_the_only_key_of_a_section_removes_the_section(text: str) -> None:
    assert parse_yaml(remove(text, "s.k"), "text") == {"t": 2}


def test_a_key_is_found_by_its_whole_path() -> None:
    assert has("s: {k: 1}\n", "s.k")
    assert not has("s: {k: 1}\n", "k")
    assert not has("s: 1\n", "s.k")
    assert not has("", "s")
