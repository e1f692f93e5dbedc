"""tasks.yaml is made, written and read back. A row that DVC would misread is refused."""

from pathlib import Path

import pytest
from dvc.utils.serialize import load_yaml as load_dvc_file
from hypothesis import example, given
from hypothesis import strategies as st

from structalign.data.tasks import category_ids, has_former_columns, read_tasks, split_categories, write_tasks
from structalign.errors import UserError
from structalign.strict_yaml import dump_yaml, load_yaml


@given(st.integers(1, 150), st.data())
def test_categories_are_divided_in_order_and_evenly(count: int, data: st.DataObject) -> None:
    tasks = data.draw(st.integers(1, count))
    names = [f"c{i}" for i in range(count)]
    dealt = split_categories(names, tasks)
    sizes = [len(task.categories) for task in dealt.values()]
    assert list(category_ids(dealt)) == names
    assert len(dealt) == tasks
    assert max(sizes) - min(sizes) <= 1


def test_more_tasks_than_categories_are_refused() -> None:
    with pytest.raises(UserError, match="2 categories can't be split into 3 tasks"):
        split_categories(["a", "b"], 3)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    tasks = split_categories(["a, b", "on", "1999", "köche", "null", "x: y"], 3)
    write_tasks(tasks, tmp_path / "tasks.yaml")
    assert read_tasks(tmp_path / "tasks.yaml") == tasks


# Names that YAML 1.1 or 1.2 does not read as text, and characters that end a line in one of them
WORDS = [
    "no",
    "on",
    "y",
    "null",
    "~",
    "010",
    "1:30",
    "1e5",
    "1_000",
    "2024-01-01",
    "0x1F",
    "=",
    "<<",
    "a\u2028b",
    "\x07",
]


@given(st.lists(st.one_of(st.sampled_from(WORDS), st.text(min_size=1)).map(str.strip), min_size=1, unique=True))
@example(WORDS)
@example(["a name, " * 1500 + "long"])
def test_every_name_is_read_back_here_and_by_dvc(tmp_path_factory: pytest.TempPathFactory, names: list[str]) -> None:
    names = [name for name in names if name and "${" not in name] or ["a"]
    path = tmp_path_factory.mktemp("tasks") / "tasks.yaml"
    write_tasks(split_categories(names, 1), path)
    assert list(category_ids(read_tasks(path))) == names
    assert load_dvc_file(str(path))["tasks"]["t01"]["categories"] == names


def test_only_the_first_task_has_phase_first() -> None:
    first, second = split_categories(["a", "b"], 2).values()
    assert (first.prev, first.phase) == ("t00", "first")
    assert (second.prev, second.phase) == ("t01", "later")


def test_columns_of_an_older_version_are_ignored_and_noticed(tmp_path: Path) -> None:
    path, tasks = tmp_path / "tasks.yaml", split_categories(["a", "b"], 2)
    write_tasks(tasks, path)
    assert not has_former_columns(path)
    tree = load_yaml(path)
    tree["tasks"]["t01"] |= {"crp": "contrastive", "pseudo": "contrastive"}
    tree["tasks"]["t02"] |= {"crp": "crp", "pseudo": "pseudo"}
    path.write_text(dump_yaml(tree), encoding="utf-8")
    assert read_tasks(path) == tasks
    assert has_former_columns(path)
    write_tasks(read_tasks(path), path)
    assert not has_former_columns(path)


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("prev", "t05", "`tasks.t02.prev` = t05 must be t01"),
        ("phase", "first", "`tasks.t02.phase` = first must be later"),
        ("crp", "contrastive", "`tasks.t02.crp` = contrastive must be crp"),
        ("categories", ["a"], "category `a` is in t01 and t02"),
        ("categories", [], "`tasks.t02.categories`"),
        ("categories", [3], "`tasks.t02.categories.0` = 3 must be a category's name: write it in quotes"),
        ("categories", [" b"], "`t02` has the category ' b'"),
        ("categories", "b", "`tasks.t02.categories` = b must be a list"),
        ("categories", ["x" * 5000] * 2, "xxx...` is twice in t02: remove it once"),
        ("phase", True, "`tasks.t02.phase` = true must be first in the first row"),
        ("prev", 1, "`tasks.t02.prev` = 1 must be the task before"),
        ("colour", "red", "`tasks.t02.colour` is not a column (prev, phase, categories are): remove it"),
    ],
)
def test_a_wrong_row_is_refused(tmp_path: Path, field: str, value: object, says: str) -> None:
    path = tmp_path / "tasks.yaml"
    write_tasks(split_categories(["a", "b"], 2), path)
    tree = load_yaml(path)
    tree["tasks"]["t02"][field] = value
    path.write_text(dump_yaml(tree))
    with pytest.raises(UserError) as error:
        read_tasks(path)
    assert says in str(error.value)
    assert "input" not in str(error.value)  # a word of pydantic


def test_a_missing_column_is_named_with_its_meaning(tmp_path: Path) -> None:
    (tmp_path / "tasks.yaml").write_text("tasks:\n  t01: {phase: first, categories: [a]}\n")
    with pytest.raises(
        UserError, match=r"`tasks.t01` lacks `prev` \(the task before, t00 in the first row\): write it"
    ):
        read_tasks(tmp_path / "tasks.yaml")


@pytest.mark.parametrize("text", ["tasks: {}\n", "[]\n", "tasks: {t01: }\n", "tasks: {1: {prev: t00}}\n", "other: 1\n"])
def test_a_file_of_another_shape_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "tasks.yaml").write_text(text)
    with pytest.raises(UserError, match=r"tasks\.yaml"):
        read_tasks(tmp_path / "tasks.yaml")


def test_a_row_out_of_order_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tasks.yaml"
    write_tasks(dict(reversed(split_categories(["a", "b"], 2).items())), path)
    with pytest.raises(UserError, match="row 1 is named `t02`: rename it to `t01`"):
        read_tasks(path)
