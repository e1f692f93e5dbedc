"""params.yaml: its comments are true, and each error in it is refused in one sentence."""

import copy
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from codemap import ROOT
from dvc.utils.serialize import modify_yaml

from structalign.cli.params import first_stage, params
from structalign.data.tasks import split_categories
from structalign.errors import UserError
from structalign.params import former
from structalign.params.backbone import Backbone
from structalign.params.method import MethodName
from structalign.params.optim import Phase
from structalign.params.reading import read
from structalign.params.reference import Reference
from structalign.params.schema import defaults, keys, refuse_too_many, validate
from structalign.params.section import leaves
from structalign.strict_yaml import dump_yaml, load_yaml, parse_yaml

TEXT = (ROOT / "params.yaml").read_text(encoding="utf-8")
PIPELINE: dict[str, Any] = load_yaml(ROOT / "dvc.yaml")
TASKS = split_categories(["a", "b", "c"], 3)


def edited(key: str, value: Any) -> dict[str, Any]:
    """The tree of params.yaml with one dotted key set."""
    tree: dict[str, Any] = copy.deepcopy(parse_yaml(TEXT, "params.yaml"))
    node = tree
    *path, last = key.split(".")
    for part in path:
        node = node.setdefault(part, {})
    node[last] = value
    return tree


def promised() -> dict[str, str]:
    """Each key of params.yaml with the stage after the arrow in its comment."""
    found: dict[str, str] = {}
    path: list[str] = []
    for line in TEXT.splitlines():
        match = re.match(r"( *)(\w+):", line)
        if match:
            depth = len(match[1]) // 2
            path = [*path[:depth], match[2]]
            if "->" in line:
                found[".".join(path)] = line.rpartition("->")[2].strip()
    return found


def test_the_params_in_git_are_valid() -> None:
    validate(parse_yaml(TEXT, "params.yaml"))


def test_every_key_has_a_comment_with_its_first_stage() -> None:
    assert list(promised()) == list(keys())


@pytest.mark.parametrize("key", keys())
def test_a_comment_names_the_first_stage_that_dvc_runs_again(key: str) -> None:
    assert promised()[key] == first_stage(key, PIPELINE, TASKS)


@pytest.mark.parametrize("key", keys())
def test_every_key_is_explained(key: str) -> None:
    assert keys()[key].meaning


def test_params_yaml_fits_on_two_screens() -> None:
    assert len(TEXT.splitlines()) <= 80


@pytest.mark.parametrize(("prefix", "nearest"), [("zzz", ""), ("crpp", "crp"), ("crp.wieght", "crp.weight")])
def test_explaining_a_key_that_is_not_there_names_the_nearest(
    prefix: str, nearest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    with pytest.raises(UserError, match=f"no key that begins with `{prefix}`; the nearest is `{nearest}"):
        params(prefix)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("crp.wieght", 1, "`crp.wieght` is not a parameter: rename it (the nearest is `crp.weight`)"),
        ("crpp.weight", 1, "`crpp.weight` is not a parameter: rename it (the nearest is `crp.weight`)"),
        ("optim.latter.lr", 1e-3, "`optim.latter.lr` is not a parameter: rename it (the nearest is `optim.later.lr`)"),
        ("sed", 1, "`sed` is not a parameter: rename it (the nearest is `seed`)"),
        ("etf.dim", -3, "`etf.dim` = -3 must be a whole number at least 1 and at most 8192"),
        ("etf.dim", 2.5, "`etf.dim` = 2.5 must be a whole number at least 1"),
        ("crp.weight", float("nan"), "`crp.weight` = NaN must be a finite number at least 0"),
        ("crp.weight", "nan", "`crp.weight` = nan must be a finite number at least 0"),
        (
            "crp.weight",
            "1e-3",
            '`crp.weight` = "1e-3" must be a finite number at least 0 and at most 100000: remove the q',
        ),
        ("crp.weight", "", '`crp.weight` = "" must be a finite number'),
        ("seed", "7" * 5000, f'`seed` = "{"7" * 79}... must be a whole number at least 0'),
        ("seed", [1] * 5000, "`seed` = [1, 1, 1, "),
        (
            "etf.capacity",
            "9",
            '`etf.capacity` = "9" must be a whole number at least 2 and at most 100000 or auto: remove',
        ),
        ("backbone.name", 3, '`backbone.name` = 3 must be a text: write "3"'),
        ("crp.weight", float("inf"), "`crp.weight` = Infinity must be a finite number at least 0"),
        ("crp.weight", "strong", "`crp.weight` = strong must be a finite number at least 0"),
        ("crp.weight", None, "`crp.weight` = null must be a finite number at least 0"),
        ("etf.dim", 10**12, "at most 8192"),
        ("adapters.rank", 10**10, "at most 4096"),
        ("optim.first.lr", 1e300, "at most 100"),
        ("seed", True, "`seed` = true must be a whole number at least 0"),
        ("adapters.experts", 1, "`adapters.experts` = 1 must be a whole number at least 2 and at most 1024"),
        ("ranking.beta", 1.5, "`ranking.beta` = 1.5 must be a finite number at least 0 and at most 1"),
        ("method.name", "structaling", "must be structalign, finetune, zero_shot, head_only, clip4clip, "),
        ("method.name", "vr_lwff", "; the nearest is `vr_lwf`."),
        ("backbone.precision", "fp31", "; the nearest is `fp32`."),
        ("features.flip", "maybe", "`features.flip` = maybe must be true or false"),
        ("crp", 3, "`crp` = 3 must have the keys crp.weight, crp.temperature, crp.teacher"),
        ("crp", None, "`crp` = null must have the keys"),
        ("etf.capacity", 1, "must be a whole number at least 2 and at most 100000 or auto"),
        ("etf.capacity", None, "`etf.capacity` = null must be a whole number at least 2 and at most 100000 or auto"),
        (
            "reference.zero_shot",
            101,
            "`reference.zero_shot` = 101 must be a finite number at least 0 and at most 100 or none",
        ),
        ("etf.capacity", 100_000, "`etf.capacity` = 100000 is more than `etf.dim` + 1 = "),
    ],
)
def test_a_wrong_value_is_refused_with_a_remedy(key: str, value: Any, said: str) -> None:
    with pytest.raises(UserError) as refusal:
        validate(edited(key, value))
    assert said in str(refusal.value)
    assert "git checkout" not in str(refusal.value)  # that would discard every other edit
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 500


@pytest.fixture
def committed(tmp_path: Path) -> Path:
    """The params.yaml of a repository whose last commit has `seed: 7`."""
    file = tmp_path / "params.yaml"
    file.write_text(dump_yaml(edited("seed", 7)), encoding="utf-8")
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "Work"]):
        subprocess.run(["git", "-c", "user.name=t", "-c", "user.email=t@t.org", *command], cwd=tmp_path, check=True)
    return file


@pytest.mark.parametrize("value", [1.5, "x", None])
def test_a_wrong_value_is_refused_with_the_one_that_git_has(committed: Path, value: Any) -> None:
    with pytest.raises(UserError, match=r"`seed` = .* must be .*; the last commit has 7\.$"):
        validate(edited("seed", value), str(committed))
    committed.write_text(dump_yaml(edited("seed", value)), encoding="utf-8")
    with pytest.raises(UserError, match=r"`seed` = .* must be .*; the last commit has 7\.$"):
        read("seed", int, committed)


def test_a_missing_key_is_named_with_the_value_that_git_has(committed: Path) -> None:
    tree = edited("seed", 7)
    del tree["seed"]
    with pytest.raises(UserError, match=r"lacks `seed` .*; the last commit has 7\.$"):
        validate(tree, str(committed))


def test_a_wrong_value_of_the_last_commit_is_not_offered(committed: Path) -> None:
    committed.write_text(dump_yaml(edited("seed", -7)), encoding="utf-8")
    commit = ["git", "-c", "user.name=t", "-c", "user.email=t@t.org", "commit", "-qam", "Work"]
    subprocess.run(commit, cwd=committed.parent, check=True)
    with pytest.raises(UserError, match=r"must be a whole number at least 0\.$"):
        validate(edited("seed", -1), str(committed))


def test_a_key_with_a_dot_is_refused() -> None:
    tree = edited("seed", 7)
    tree["crp.weight"] = 1
    with pytest.raises(UserError, match="write `weight` below `crp:`"):
        validate(tree)


@pytest.mark.parametrize("key", keys())
def test_every_number_except_the_seed_has_a_limit(key: str) -> None:
    allowed = keys()[key].allowed
    assert "number" not in allowed or "seed" in key or "at most" in allowed or "below" in allowed


@pytest.mark.parametrize("key", keys())
def test_a_missing_key_is_refused(key: str) -> None:
    tree = parse_yaml(TEXT, "params.yaml")
    *path, last = key.split(".")
    node = tree
    for part in path:
        node = node[part]
    del node[last]
    with pytest.raises(UserError, match=re.escape(key.split(".")[0])):
        validate(tree)


@pytest.mark.parametrize("tree", [None, [], 3])
def test_a_file_without_parameters_is_refused(tree: Any) -> None:
    with pytest.raises(UserError, match="has no parameters"):
        validate(tree)


def test_more_categories_than_vertices_are_refused() -> None:
    params = validate(edited("etf.dim", 4))
    refuse_too_many(params, 5)
    with pytest.raises(UserError, match=r"`etf.dim` \+ 1 = 5 is less than the 6 categories"):
        refuse_too_many(params, 6)


def test_a_capacity_below_the_categories_is_refused() -> None:
    with pytest.raises(UserError, match=r"`etf.capacity` = 3 is less than the 4 categories"):
        refuse_too_many(validate(edited("etf.capacity", 3)), 4)


def test_a_number_that_dvc_writes_without_a_decimal_point_is_read(tmp_path: Path) -> None:
    """`dvc exp run -S optim.first.lr=1e-5` writes 1e-05."""
    file = tmp_path / "params.yaml"
    file.write_text(re.sub(r"\n    lr: \S+", "\n    lr: 1e-05", TEXT), encoding="utf-8")
    assert read("optim.first", Phase, file).lr == 1e-5
    assert validate(load_yaml(file)).optim.later.lr == 1e-5


@pytest.mark.parametrize(("key", "value"), [("seed", "7"), ("crp.weight", "1e-3"), ("features.flip", "true")])
def test_a_text_in_place_of_a_number_or_truth_value_is_refused(key: str, value: str) -> None:
    """DVC's lock would have the text."""
    with pytest.raises(UserError, match=f'`{key}` = "{value}" must be .*: remove the quotes'):
        validate(edited(key, value))


@pytest.mark.parametrize(
    ("key", "value", "section", "kind"),
    [
        ("backbone.name", 3, "backbone.name", str),
        ("backbone.precision", "fp16", "backbone", Backbone),
        ("backbone.presicion", "fp32", "backbone", Backbone),
        ("backbone", 3, "backbone", Backbone),
        ("optim.first", None, "optim.first", Phase),
        ("optim.first.warmup", 1, "optim.first", Phase),
        ("method.name", "structaling", "method", MethodName),
        ("method.task_prior", "own", "method", MethodName),
        ("reference.categories", 0, "reference", Reference),
    ],
)
def test_a_stage_refuses_a_value_in_the_words_of_the_check(
    key: str, value: Any, section: str, kind: type, tmp_path: Path
) -> None:
    file = tmp_path / "params.yaml"
    file.write_text(dump_yaml(edited(key, value)), encoding="utf-8")
    with pytest.raises(UserError) as checked:
        validate(load_yaml(file), str(file))
    with pytest.raises(UserError, match=re.escape(str(checked.value))):
        read(section, kind, file)


@pytest.mark.parametrize(("key", "value", "shown"), [("seed", "7", '"7"'), ("seed", 1.5, "1.5")])
def test_a_stage_refuses_a_single_value_by_its_key_and_value(key: str, value: Any, shown: str, tmp_path: Path) -> None:
    file = tmp_path / "params.yaml"
    file.write_text(dump_yaml(edited(key, value)), encoding="utf-8")
    with pytest.raises(UserError, match=f"`{key}` = {shown} must be a whole number"):
        read(key, int, file)


def test_a_stage_refuses_a_missing_section_in_the_words_of_the_check(tmp_path: Path) -> None:
    file, tree = tmp_path / "params.yaml", parse_yaml(TEXT, "params.yaml")
    tree["expected"] = tree.pop("reference")
    file.write_text(dump_yaml(tree), encoding="utf-8")
    with pytest.raises(UserError, match=r"params\.yaml: `expected.zero_shot` is now `reference.zero_shot`\. .*migrate"):
        read("reference", Reference, file)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("contrastive.prior", 0.5, "`contrastive.prior` is now `contrastive.logit_adjustment`"),
        ("etf.frame", "exact", "`etf.frame` is now `etf.vertices`"),
        ("expected.categories", 20, "`expected.categories` is now `reference.categories`"),
        ("expected", None, "`expected` is now `reference`"),
        ("method.task_prior", "all", "`method.task_prior` no longer exists: `ranking.task_prior` acts on every method"),
    ],
)
def test_a_key_of_an_older_version_is_refused_with_the_newer_one(key: str, value: Any, said: str) -> None:
    tree, former_name = edited(key, value), next((name for name in former.RENAMED if key.startswith(name)), "")
    *path, last = former.name_now(former_name).split(".")
    (tree[path[0]] if path else tree).pop(last, None)
    with pytest.raises(UserError) as refusal:
        validate(tree)
    assert said in str(refusal.value)
    assert "`structalign migrate`" in str(refusal.value)
    assert "nearest" not in str(refusal.value)


@pytest.mark.parametrize(
    ("old", "value", "both"),
    [
        ("contrastive.prior", 0, ("contrastive.prior", "contrastive.logit_adjustment")),
        ("expected.zero_shot", 20, ("expected", "reference")),
    ],
)
def test_a_key_under_both_names_is_refused_with_the_one_to_remove(old: str, value: Any, both: tuple[str, str]) -> None:
    with pytest.raises(UserError, match=f"both `{both[0]}` and .*`{both[1]}`: remove `{both[0]}`") as refusal:
        validate(edited(old, value))
    assert "migrate" not in str(refusal.value)  # it would ask for the same


def test_every_newer_name_is_a_key_and_no_older_one_is() -> None:
    names = list(keys())
    for old, new in former.RENAMED.items():
        assert any(f"{key}.".startswith(f"{new}.") for key in names)
        assert not any(f"{key}.".startswith(f"{old}.") for key in names)
    assert not set(former.GONE) & set(names)


@pytest.mark.parametrize("key", defaults())
def test_a_missing_newer_key_is_refused_with_the_command_that_adds_it(key: str) -> None:
    tree = parse_yaml(TEXT, "params.yaml")
    section, name = key.split(".")
    del tree[section][name]
    if not tree[section]:
        del tree[section]
    with pytest.raises(UserError, match=f"lacks `{key}` .*`structalign migrate`, which adds it"):
        validate(tree)


@pytest.mark.parametrize(
    ("method", "scope", "effect"),
    [
        ("structalign", "own", 0.1),
        ("head_only", "own", 0.1),
        ("structalign_released", "own", 0),
        ("structalign_released", "all", 0.1),
        ("finetune", "own", 0),
        ("finetune", "all", 0.1),
        ("zero_shot", "all", 0),
        ("joint", "all", 0),
        ("finetune", None, 0.1),
    ],
)
def test_parameters_of_an_older_version_keep_the_effect_of_the_task_prior(
    method: str, scope: str | None, effect: float
) -> None:
    old = {"method.name": method, "ranking.task_prior": 0.1, "expected.categories": 20}
    now = former.as_of_now(old | ({} if scope is None else {"method.task_prior": scope}))
    assert now == {"method.name": method, "ranking.task_prior": effect, "reference.categories": 20}


def test_dvc_only_changes_the_line_of_the_changed_number(tmp_path: Path) -> None:
    """`dvc exp run -S` rewrites params.yaml, and would write `null` as an empty value."""
    file = tmp_path / "params.yaml"
    file.write_text(TEXT, encoding="utf-8")
    with modify_yaml(str(file)) as tree:
        tree["crp"]["weight"] = 0.5
    pairs = zip(TEXT.splitlines(), file.read_text(encoding="utf-8").splitlines(), strict=True)
    assert [new.split("#")[0].split() for old, new in pairs if old != new] == [["weight:", "0.5"]]


def test_leaves_are_dotted_keys() -> None:
    assert dict(leaves({"a": {"b": 1, "c": {"d": 2}}, "e": None})) == {"a.b": 1, "a.c.d": 2, "e": None}
