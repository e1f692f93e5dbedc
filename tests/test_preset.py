"""`structalign preset`: differences over params.yaml, comments kept, edits never lost."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from codemap import ROOT

from structalign.cli.preset import preset
from structalign.data.tasks import read_tasks, split_categories, write_tasks
from structalign.errors import UserError
from structalign.params.schema import validate
from structalign.params.section import leaves
from structalign.strict_yaml import load_yaml

PRESETS = sorted(file.stem for file in (ROOT / "presets").glob("*.yaml"))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A committed project of 20 categories in 10 tasks."""
    shutil.copytree(ROOT / "presets", tmp_path / "presets")
    shutil.copy(ROOT / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    write_tasks(split_categories([f"category {number}" for number in range(20)], 10))
    _git("init", "-q")
    _git("add", ".")
    _git("commit", "-qm", "Begin")
    return tmp_path


def _git(*arguments: str) -> None:
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    subprocess.run(["git", *identity, *arguments], check=True)


def _changed() -> str:
    return subprocess.run(["git", "status", "--porcelain"], capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_gives_valid_params(project: Path, name: str) -> None:
    preset([name])
    validate(load_yaml(Path("params.yaml")))


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_changes_the_keys_it_names_and_no_other(project: Path, name: str) -> None:
    before = dict(leaves(load_yaml(Path("params.yaml"))))
    preset([name])
    after = dict(leaves(load_yaml(Path("params.yaml"))))
    assert after == {**before, **_named(name)}


def _named(name: str) -> dict[str, Any]:
    """The keys that a preset sets, including those of the presets that it extends."""
    tree = load_yaml(Path(f"presets/{name}.yaml"))
    tree.pop("tasks", None)
    below = [_named(base) for base in tree.pop("presets", [])]
    return {key: value for keys in [*below, dict(leaves(tree))] for key, value in keys.items()}


@pytest.mark.parametrize(
    ("name", "tasks", "frames", "experts", "lr", "zero_shot"),
    [
        ("msrvtt-10", 10, 12, 10, 3e-6, 22.14),
        ("msrvtt-20", 20, 12, 10, 3e-6, 22.14),
        ("actnet-10", 10, 24, 5, 6e-6, 14.89),
        ("actnet-20", 20, 24, 5, 6e-6, 14.89),
    ],
)
def test_a_benchmark_s_preset_has_the_published_settings(
    project: Path, name: str, tasks: int, frames: int, experts: int, lr: float, zero_shot: float
) -> None:
    preset([name])
    params = validate(load_yaml(Path("params.yaml")))
    assert len(read_tasks()) == tasks
    assert (params.frames.per_video, params.adapters.experts, params.optim.later.lr) == (frames, experts, lr)
    assert (params.optim.first.lr, params.optim.shared.batch, params.crp.weight) == (2e-5, 32, 10)
    assert params.reference.zero_shot == zero_shot


def test_a_preset_extends_others_and_overrides_them(project: Path) -> None:
    Path("presets/one.yaml").write_text("crp: {weight: 1}\nseed: 7\n", encoding="utf-8")
    Path("presets/two.yaml").write_text("presets: [one]\ncrp: {weight: 2}\n", encoding="utf-8")
    preset(["two"])
    params = load_yaml(Path("params.yaml"))
    assert (params["crp"]["weight"], params["seed"]) == (2, 7)


def test_presets_that_are_not_a_list_are_refused(project: Path) -> None:
    Path("presets/one.yaml").write_text("presets: paper\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"one.yaml: `presets` = paper must be a list"):
        preset(["one"])


def test_presets_that_extend_each_other_are_refused(project: Path) -> None:
    Path("presets/one.yaml").write_text("presets: [two]\n", encoding="utf-8")
    Path("presets/two.yaml").write_text("presets: [one]\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"extends itself .one -> two -> one"):
        preset(["one"])


def test_comments_stay(project: Path) -> None:
    def comments() -> list[str]:
        return [line.partition("#")[2] for line in Path("params.yaml").read_text("utf-8").splitlines()]

    before = comments()
    preset(["msrvtt"])
    assert comments() == before


def test_a_text_in_quotes_stays_a_text(project: Path) -> None:
    Path("presets/mine.yaml").write_text("backbone: {name: 'no'}\n", encoding="utf-8")
    preset(["mine"])
    assert load_yaml(Path("params.yaml"))["backbone"]["name"] == "no"


def test_a_preset_is_read_strictly(project: Path) -> None:
    Path("presets/mine.yaml").write_text("crp:\n  weight: 1\nseed: 010\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"presets/mine.yaml, line 3: `seed` = 010 .* write 10"):
        preset(["mine"])
    assert _changed() == "?? presets/mine.yaml\n"


def test_five_tasks_hold_four_categories_each_in_the_old_order(project: Path) -> None:
    before = [name for task in read_tasks().values() for name in task.categories]
    preset(["tasks-5"])
    tasks = read_tasks()
    assert [len(task.categories) for task in tasks.values()] == [4] * 5
    assert [name for task in tasks.values() for name in task.categories] == before


def test_a_later_preset_overrides_an_earlier_one(project: Path) -> None:
    Path("presets/one.yaml").write_text("crp: {weight: 1}\nseed: 7\n", encoding="utf-8")
    Path("presets/two.yaml").write_text("crp: {weight: 2}\n", encoding="utf-8")
    preset(["one", "two"])
    params = load_yaml(Path("params.yaml"))
    assert (params["crp"]["weight"], params["seed"]) == (2, 7)


def test_diff_changes_nothing(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    preset(["tasks-5", "msrvtt"], diff=True)
    assert "frames.size: " in capsys.readouterr().out
    assert _changed() == ""


@pytest.mark.parametrize("file", ["params.yaml", "tasks.yaml"])
def test_uncommitted_edits_are_not_overwritten(project: Path, file: str) -> None:
    Path(file).write_text(Path(file).read_text(encoding="utf-8") + "# mine\n", encoding="utf-8")
    with pytest.raises(UserError, match=rf"{file} has uncommitted edits"):
        preset(["msrvtt-20"])
    assert _changed() == f" M {file}\n"


def test_an_unknown_key_in_a_preset_is_refused(project: Path) -> None:
    Path("presets/mine.yaml").write_text("crp: {wieght: 1}\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"presets/mine.yaml: `crp.wieght` .* nearest is `crp.weight`"):
        preset(["mine"])


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "- crp\n", "crp\n"])
def test_a_preset_without_parameters_is_refused(project: Path, text: str) -> None:
    Path("presets/mine.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=r"presets/mine.yaml has no parameters: write those that differ"):
        preset(["mine"])


def test_a_preset_that_is_not_yaml_is_refused(project: Path) -> None:
    Path("presets/mine.yaml").write_text("crp: {weight: 1\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"presets/mine.yaml is not valid YAML"):
        preset(["mine"])


@pytest.mark.parametrize("tasks", ["ten", "2.5", "true", "null", "0", "[1]"])
def test_an_invalid_number_of_tasks_is_refused(project: Path, tasks: str) -> None:
    Path("presets/mine.yaml").write_text(f"tasks: {tasks}\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"must be a whole number at least 1|choose 1 to 20"):
        preset(["mine"])


def test_an_unknown_preset_is_refused_with_the_known_ones(project: Path) -> None:
    with pytest.raises(UserError, match="choose one of the presets actnet, actnet-10"):
        preset(["msrvt"])
    assert _changed() == ""


def test_an_impossible_combination_is_refused_before_anything_is_written(project: Path) -> None:
    Path("presets/small.yaml").write_text("etf: {dim: 3}\n", encoding="utf-8")
    with pytest.raises(UserError, match="20 categories"):
        preset(["small"])
    assert _changed() == "?? presets/small.yaml\n"
