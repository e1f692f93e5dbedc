"""`structalign search` only uses checkpoints of this tasks.yaml, never those of another project."""

from pathlib import Path

import pytest
from command import structalign

from structalign.data.pretrained import unknown_words
from structalign.data.tasks import Task, category_ids, split_categories, write_tasks
from structalign.errors import UserError
from structalign.formats import CHECKPOINT_FORMAT, INDEX_FORMAT
from structalign.library.chain import Chain, last_learned, other_backbone
from structalign.store import write_json

OWN = split_categories(["cats", "dogs", "fish"], 3)


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tasks(OWN, tmp_path / "tasks.yaml")
    monkeypatch.chdir(tmp_path)


def learn(categories: list[str], first: int = 1) -> None:
    """Write the files that a run leaves, with one task for each category, from task number `first` on."""
    tasks = split_categories(categories, len(categories))
    for number, key in enumerate(tasks, start=1):
        if number >= first:
            until = dict(list(tasks.items())[:number])
            config = {"tasks": list(until), "categories": category_ids(until)}
            write_json(Path("checkpoints", key, "config.json"), config)
            write_json(Path("work/index", f"{key}.json"), {"format": INDEX_FORMAT, "galleries": []})


def test_the_last_task_that_was_learned_is_searched() -> None:
    learn(["cats", "dogs"])
    assert last_learned(OWN) == "t02"
    assert last_learned(OWN, "t01") == "t01"


def test_a_checkpoint_of_another_project_is_not_taken_for_the_next_task() -> None:
    learn(["mammals", "birds", "insects"], 3)
    learn(["cats", "dogs"])
    assert last_learned(OWN) == "t02"
    with pytest.raises(
        UserError, match=r"the checkpoints of t03 were trained with another tasks\.yaml: run `dvc repro`"
    ):
        last_learned(OWN, "t03")


@pytest.mark.parametrize("others", [["birds", "dogs", "fish"], ["dogs", "cats", "fish"]], ids=["names", "numbers"])
def test_other_categories_are_another_tasks_yaml(others: list[str]) -> None:
    learn(others, 2)
    with pytest.raises(UserError, match=r"of t02, t03 were trained with another tasks\.yaml"):
        last_learned(OWN)


def test_the_same_categories_in_other_tasks_are_another_tasks_yaml() -> None:
    learn(["cats", "dogs", "fish"])
    with pytest.raises(UserError, match="another tasks"):
        last_learned(split_categories(["cats", "dogs", "fish"], 1))


def test_the_same_categories_divided_otherwise_are_another_tasks_yaml() -> None:
    for key, until in (("t01", ["cats", "dogs"]), ("t02", ["cats", "dogs", "fish"])):
        ids = {name: number for number, name in enumerate(until)}
        write_json(
            Path("checkpoints", key, "config.json"), {"tasks": ["t01", "t02"][: int(key[1:])], "categories": ids}
        )
        write_json(Path("work/index", f"{key}.json"), {"format": INDEX_FORMAT, "galleries": []})
    with pytest.raises(UserError, match="another tasks"):
        last_learned({"t01": Task.numbered(1, ["cats"]), "t02": Task.numbered(2, ["dogs", "fish"])})


def test_a_checkpoint_of_tasks_with_other_keys_does_not_count() -> None:
    learn(["cats"])
    write_json(Path("checkpoints/t01/config.json"), {"tasks": ["first"], "categories": {"cats": 0}})
    with pytest.raises(UserError, match="another tasks"):
        last_learned(OWN)


def test_a_checkpoint_whose_videos_are_not_stored_yet_does_not_count() -> None:
    learn(["cats", "dogs"])
    Path("work/index/t02.json").unlink()
    assert last_learned(OWN) == "t01"


def test_before_the_first_run_search_says_that_nothing_is_learned_yet() -> None:
    assert structalign("search", "a cat") == (1, "error: no task is learned yet: run `dvc repro`.\n")
    assert structalign("search", "a cat", "--after", "t02") == (1, "error: t02 is not learned yet: run `dvc repro`.\n")


def test_after_init_search_says_that_the_results_are_of_another_tasks_yaml() -> None:
    learn(["mammals", "birds"])
    said = "error: the checkpoints of t01, t02 were trained with another tasks.yaml: run `dvc repro`.\n"
    assert structalign("search", "a cat") == (1, said)


def test_a_task_that_tasks_yaml_lacks_is_refused_with_a_choice() -> None:
    with pytest.raises(UserError, match=r"tasks\.yaml has no task t09: choose one of t01, t02, t03"):
        last_learned(OWN, "t09")


def test_videos_that_another_model_encoded_are_not_searched() -> None:
    """`dvc repro` was stopped between training and embedding."""
    learn(["cats"])
    write_json(Path("work/index/t01.json"), {"format": INDEX_FORMAT, "galleries": [{"task": "t01", "encoder": "0"}]})
    code, said = structalign("search", "a cat")
    assert (code, "videos that were not encoded by checkpoints/t01: run `dvc repro`" in said) == (1, True)


def test_another_backbone_in_params_is_refused(tmp_path: Path) -> None:
    write_json(Path("checkpoints/t01/config.json"), {"format": CHECKPOINT_FORMAT, "backbone": "data/clip"})
    chain = Chain(Path(), ["t01"], {})
    assert other_backbone(chain) is None
    for name, facts in (("data/clip", []), ("openai/clip", ["data/clip", "openai/clip", "`dvc repro`"])):
        Path("params.yaml").write_text(f"backbone:\n  name: {name}\n")
        assert [fact in (other_backbone(chain) or "") for fact in facts] == [True] * len(facts)


def test_unknown_words_are_named_for_the_sample_s_clip_and_for_no_other_clip(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"structalign_sample": ["a", "bunny", "hops", "close-up"]}')
    assert unknown_words(tmp_path, "A bunny, a Zebra and a close-up; zebra!") == ["zebra", "and"]
    assert unknown_words(tmp_path, "a bunny hops.") == []
    (tmp_path / "config.json").write_text("{}")
    assert unknown_words(tmp_path, "a zebra") == []
    assert unknown_words(tmp_path / "nowhere", "a zebra") == []
