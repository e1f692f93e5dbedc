"""The file of a sweep: the settings that it gives each method, and the errors that refuse it."""

from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path

import pytest
from codemap import ROOT

from structalign.data.tasks import split_categories, write_tasks
from structalign.errors import UserError
from structalign.learning.loading import load_method
from structalign.params.method import METHODS
from structalign.sweep.file import UNTRAINED, Plan, Setting, read_plan

HEAD = "seeds: [0, 1]\nfinalists: 1\nsplit: val\n"


@pytest.fixture(autouse=True)
def project(tmp_path: Path) -> Iterator[None]:
    """A folder with the params.yaml of the sample and two tasks."""
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    write_tasks(split_categories(["cats", "dogs"], 2), tmp_path / "tasks.yaml")
    with chdir(tmp_path):
        yield


def plan(methods: str, head: str = HEAD) -> Plan:
    Path("some.yaml").write_text(f"{head}methods:\n{methods}", encoding="utf-8")
    return read_plan(Path("some.yaml"))


def refusal(methods: str, head: str = HEAD) -> str:
    with pytest.raises(UserError) as refused:
        plan(methods, head)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def lr(setting: Setting) -> tuple[float, float]:
    return setting.sections["optim"]["first"]["lr"], setting.sections["optim"]["later"]["lr"]


def test_the_lists_of_a_mapping_make_every_combination() -> None:
    settings = plan("  structalign:\n    crp.weight: [1, 3]\n    pseudo.weight: [0.1, 0.2, 0.5]\n").settings
    found = [(one.sections["crp"]["weight"], one.sections["pseudo"]["weight"]) for one in settings]
    assert found == [(1, 0.1), (1, 0.2), (1, 0.5), (3, 0.1), (3, 0.2), (3, 0.5)]


def test_a_star_sets_both_phases_together() -> None:
    assert [lr(one) for one in plan("  replay: {optim.*.lr: [1e-3, 2e-3]}\n").settings] == [
        (1e-3, 1e-3),
        (2e-3, 2e-3),
    ]


def test_the_mappings_of_a_list_are_not_combined() -> None:
    settings = plan("  xpool:\n    - {optim.first.lr: 1e-2}\n    - {optim.later.lr: 2e-2}\n").settings
    assert [lr(one) for one in settings] == [(1e-2, 1e-3), (1e-3, 2e-2)]


def test_a_method_without_settings_uses_those_of_params_yaml() -> None:
    (one,) = plan("  zero_shot:\n").settings
    assert (one.method, one.values) == ("zero_shot", {})


def test_a_method_s_settings_override_those_for_all_methods() -> None:
    settings = plan("  lwf:\n  zscl: {optim.first.epochs: 3}\n", HEAD + "settings: {optim.*.epochs: 2}\n").settings
    epochs = [[one.sections["optim"][phase]["epochs"] for phase in ("first", "later")] for one in settings]
    assert epochs == [[2, 2], [3, 2]]


def test_a_further_ranking_changes_the_ranking_of_each_setting() -> None:
    head = HEAD + "rankings:\n  task prior: {ranking.task_prior: 2}\n  words only: {ranking.beta: 1}\n"
    made = plan("  lwf:\n  zscl: {ranking.beta: 0.25}\n", head)
    assert made.rankings == ["task prior", "words only"]
    found = [{name: (own["beta"], own["task_prior"]) for name, own in one.rankings.items()} for one in made.settings]
    assert found == [{"task prior": (beta, 2), "words only": (1, 0)} for beta in (0.5, 0.25)]
    assert [one.sections["ranking"]["task_prior"] for one in made.settings] == [0, 0]


def test_a_further_ranking_changes_the_file_of_no_run() -> None:
    with_it, without = plan("  lwf:\n", HEAD + "rankings: {a: {ranking.beta: 1}}\n"), plan("  lwf:\n")
    assert [one.key for one in with_it.settings] == [one.key for one in without.settings]


def test_two_settings_have_two_files() -> None:
    first, second = plan("  finetune: {optim.*.lr: [1e-3, 2e-3]}\n").settings
    assert first.key != second.key


def test_a_run_reads_neither_frames_nor_the_published_reference() -> None:
    (one,) = plan("  zero_shot:\n").settings
    assert not {"data", "frames", "reference", "method", "seed"} & set(one.sections)


@pytest.mark.parametrize(
    ("methods", "head", "facts"),
    [
        ("  finetune:\n", "split: val\n", ["lacks `seeds`", "whole numbers"]),
        ("  finetune:\n", HEAD.replace("[0, 1]", "[]"), ["`seeds` = []"]),
        ("  finetune:\n", HEAD.replace("[0, 1]", "[0, 0]"), ["`seeds`", "different"]),
        ("  finetune:\n", HEAD.replace("[0, 1]", "[-1]"), ["`seeds`", "below 0"]),
        ("  finetune:\n", HEAD.replace("[0, 1]", "3"), ["`seeds` = 3", "list"]),
        ("  finetune:\n", HEAD.replace("[0, 1]", "[0, true]"), ["`seeds`"]),
        ("  finetune:\n", HEAD.replace("finalists: 1", "finalists: 0"), ["`finalists` = 0", "at least 1"]),
        ("  finetune:\n", HEAD.replace("finalists: 1", "finalists: some"), ["`finalists` = some", "all"]),
        ("  finetune:\n", HEAD.replace("split: val", "split: train"), ["`split` = train", "val or test"]),
        ("  finetune:\n", HEAD.replace("split: val", "split: test"), ["`finalists`", "test split chooses nothing"]),
        ("  finetune:\n", HEAD + "baseline: lwf\n", ["`baseline`", "lwf", "below `methods`"]),
        ("  finetune:\n", HEAD + "baseline: [finetune, lwf]\n", ["`baseline`", "lwf", "below `methods`"]),
        ("  finetune:\n", HEAD + "baseline: ['zero_shot, sentence']\n", ["zero_shot, sentence", "below `methods`"]),
        ("  finetune:\n", HEAD + "seed: 3\n", ["`seed` is not a key of a sweep", "`seeds`"]),
        ("  finetune:\n", HEAD.replace("split", "splits"), ["`splits` is not a key of a sweep", "`split`"]),
        ("  finetune:\n", HEAD + "settings: 3\n", ["`settings` = 3"]),
        ("  {}\n", HEAD, ["`methods` = {}"]),
        ("  lwf:\n", HEAD + "more_seeds: {lwf: [1]}\n", ["`more_seeds.lwf` = [1]", "differ from each other"]),
        ("  lwf:\n", HEAD + "more_seeds: {lwf: [-1]}\n", ["`more_seeds.lwf` = [-1]", "at least 0"]),
        ("  lwf:\n", HEAD + "more_seeds: {zscl: [2]}\n", ["`more_seeds.zscl`", "below `methods`"]),
        (
            "  zero_shot:\n",
            HEAD + "more_seeds: {zero_shot: [2]}\n",
            ["`more_seeds.zero_shot`", "trains nothing", "remove"],
        ),
        ("  lwf:\n", HEAD + "more_seeds: [2]\n", ["`more_seeds` = [2]", "finetune: [3, 4]"]),
        ("  lwf:\n", HEAD + "rankings: 3\n", ["`rankings` = 3", "{ranking.task_prior: 1}"]),
        ("  lwf:\n", HEAD + "rankings: {1: {ranking.beta: 1}}\n", ["`rankings.1`", "plain text"]),
        ("  lwf:\n", HEAD + "rankings: {prior: }\n", ["`rankings.prior`", "`ranking.task_prior: 1`"]),
        ("  lwf:\n", HEAD + "rankings: {prior: {}}\n", ["`rankings.prior`", "`ranking.task_prior: 1`"]),
        ("  lwf:\n", HEAD + "rankings: {sentence: {ranking.beta: 0}}\n", ["`rankings.sentence`", "choose another"]),
        ("  lwf:\n", HEAD + "rankings: {true task: {ranking.beta: 0}}\n", ["`rankings.true task`", "choose another"]),
        ("  lwf:\n", HEAD + "rankings: {'a, b': {ranking.beta: 0}}\n", ['names "a, b":', "letters"]),
        ("  lwf:\n", HEAD + "rankings: {' a': {ranking.beta: 0}}\n", ['names " a":', "letters"]),
        ("  lwf:\n", HEAD + "rankings: {a: {ranking.tsk_prior: 1}}\n", ["`rankings.a`", "`ranking.task_prior`"]),
        ("  lwf:\n", HEAD + "rankings: {a: {task_prior: 1}}\n", ["`rankings.a`", "`task_prior`"]),
        ("  lwf:\n", HEAD + "rankings: {a: {ranking.beta: 2}}\n", ["`rankings.a`", "`ranking.beta` = 2", "at most 1"]),
        ("  lwf:\n", HEAD + "rankings: {a: {ranking.beta: [0, 1]}}\n", ["`rankings.a`", "one value"]),
        ("  lwf:\n", HEAD + "rankings: {a: {crp.weight: 1}}\n", ["`rankings.a`", "`crp.weight`", "below `methods`"]),
        ("  lwf:\n", HEAD + "rankings: {a: {seed: 1}}\n", ["`rankings.a`", "`seed`"]),
        ("  fintune:\n", HEAD, ["`methods.fintune`", "`finetune`"]),
        ("  finetune: 3\n", HEAD, ["`methods.finetune`", "keys of params.yaml"]),
        ("  finetune: []\n", HEAD, ["`methods.finetune`", "keys of params.yaml"]),
        ("  finetune: [3]\n", HEAD, ["`methods.finetune`", "keys of params.yaml"]),
        ("  finetune: {crp.weigth: 1}\n", HEAD, ["`crp.weigth`", "`crp.weight`"]),
        ("  finetune: {etf.frame: exact}\n", HEAD, ["`etf.frame` is now `etf.vertices`"]),
        ("  finetune: {crp: {weight: 1}}\n", HEAD, ["`crp` =", "one value"]),
        ("  finetune: {crp.weight: []}\n", HEAD, ["`crp.weight`", "empty list"]),
        ("  finetune: {crp.weight: [[1, 2]]}\n", HEAD, ["`crp.weight`", "one value"]),
        ("  finetune: {crp.weight: -1}\n", HEAD, ["`methods.finetune`", "`crp.weight` = -1", "at least 0"]),
        ("  finetune: {crp.weight: 1, crp.weight: 2}\n", HEAD, ["`methods.finetune.crp.weight`", "twice"]),
        ("  finetune: {crp.weight: [1, 1]}\n", HEAD, ["`methods.finetune`", "twice"]),
        ("  finetune: {optim.first.lr: 1, optim.*.lr: 2}\n", HEAD, ["`optim.*.lr`", "`optim.first.lr`", "keep one"]),
        ("  finetune: {optim.*.rate: 1}\n", HEAD, ["`optim.*.rate` fits no key"]),
        ("  finetune: {opt*.first.lr: 1}\n", HEAD, ["`opt*.first.lr` fits no key"]),
        ("  finetune: {frames.size: 32}\n", HEAD, ["`frames.size` changes frames or features", "structalign repro"]),
        ("  finetune: {backbone.precision: fp32}\n", HEAD, ["`backbone.precision` changes frames or features"]),
        ("  finetune: {features.train_views: 1}\n", HEAD, ["`features.train_views`"]),
        ("  finetune: {data.timeout: 1}\n", HEAD, ["`data.timeout`"]),
        ("  finetune: {seed: 3}\n", HEAD, ["`seed`", "`seeds`"]),
        ("  finetune: {method.name: lwf}\n", HEAD, ["`method.name`", "`methods`"]),
        ("  finetune: {etf.capacity: 200}\n", HEAD, ["`methods.finetune`", "etf.dim"]),
        ("  finetune: {etf.dim: 1, etf.capacity: 2, etf.vertices: gaussian}\n", HEAD + "seeds: [1]\n", ["seeds"]),
        ("  finetune:\n", HEAD + "settings: {frames.size: 32}\n", ["`settings`", "`frames.size`"]),
    ],
)
def test_a_fault_is_refused_in_one_sentence(methods: str, head: str, facts: list[str]) -> None:
    said = refusal(methods, head)
    assert said.startswith("some.yaml")
    for fact in facts:
        assert fact in said


@pytest.mark.parametrize("text", ["", "[]", "seeds", "3"])
def test_a_file_that_is_not_a_mapping_is_refused(text: str) -> None:
    Path("some.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=r"some\.yaml has no sweep"):
        read_plan(Path("some.yaml"))


def test_a_broken_params_yaml_is_refused_by_its_own_name() -> None:
    Path("params.yaml").write_text("seed: x\n", encoding="utf-8")
    assert refusal("  finetune:\n").startswith("params.yaml")


@pytest.mark.parametrize("file", sorted((ROOT / "sweeps").glob("*.yaml")), ids=lambda file: file.name)
def test_a_committed_sweep_is_valid(file: Path) -> None:
    assert read_plan(file).settings


def test_only_zero_shot_clip_trains_nothing() -> None:
    assert [name for name in METHODS if not load_method(name).trains] == [UNTRAINED]
