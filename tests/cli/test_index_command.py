"""`structalign index` and `structalign search --index`, as a user types them in an empty folder."""

import json
import shutil
from pathlib import Path

import pytest
from command import structalign
from library_case import clip_folder, plain
from videos import maker


def made(root: Path) -> Path:
    """An empty folder beside videos and a CLIP."""
    for name in ("empty", "videos"):
        (root / name).mkdir()
    clip_folder(root / "clip")
    maker(root / "videos")("red.mp4", plain("red"))
    return root


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder is empty, and the user has a data folder."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.chdir(made(tmp_path) / "empty")
    return tmp_path


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The same with an index, and what building it said."""
    root = made(tmp_path_factory.mktemp("built"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root / "empty")
        code, said = structalign("index", "../videos", "--backbone", "../clip", "--index", "../index")
    assert code == 0, said
    return root, said


@pytest.fixture
def beside(built: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder is empty, beside an index that no test changes."""
    monkeypatch.chdir(built[0] / "empty")
    return built[0]


def test_a_folder_is_indexed_and_searched_without_a_project(empty: Path) -> None:
    (empty / "videos/broken.mp4").write_bytes(b"\0" * 100)
    code, said = structalign("index", "../videos", "--backbone", "../clip")
    assert (code, "1 file encoded; 1 broken." in said, "broken.mp4: " in said) == (0, True, True)
    place = said.split("index: ")[1].splitlines()[0]
    assert Path(place).is_relative_to(empty / "data")
    code, said = structalign("search", "--index", place, "red", "a blue", "--json", "--explain")
    found = json.loads(said)
    assert [query["query"] for query in found] == ["red", "a blue"]
    hit = found[0]["hits"][0]
    assert (Path(hit["file"]).name, hit["moments"][0]["start"], hit["playing"]) == ("red.mp4", 0, "direct")
    assert [word for word, _, _ in hit["words"]] == ["red"]
    assert list(Path().iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["search", "--index", "../videos", "red"], "neither an index nor a project"),
        (["search", "--index", "x", "--project", "y", "red"], "--index excludes --project"),
        (["search"], "a sentence, or a video with --like"),
        (["search", "red"], "there is no project here: pass --index"),
        (["search", " "], "the sentence is empty"),
        (["index", "../missing", "--backbone", "../clip"], "missing does not exist"),
        (["index", "../videos", "--backbone", "../missing"], "--backbone ../missing: no such folder"),
        (["index", "../videos", "--backbone", "two words"], "--backbone two words is neither a folder here nor"),
        (["index", "../videos", "--backbone", "../clip", "--index", "../videos/index"], "choose a place outside it"),
    ],
)
def test_an_impossible_request_is_refused_in_one_sentence(beside: Path, arguments: list[str], said: str) -> None:
    code, told = structalign(*arguments)
    assert (code, told.count("\n"), told.startswith("error: ")) == (1, 1, True)
    assert said in told


def test_the_usage_of_index_is_what_one_types() -> None:
    assert " index [OPTIONS] {folders}" in structalign("index", "--help")[1]


def test_an_index_is_checked_when_it_is_built(built: tuple[Path, str]) -> None:
    assert "agree with exact ranking in 1.000 of the top 10" in built[1]


def test_an_index_is_checked_on_request(beside: Path, tmp_path: Path) -> None:
    code, said = structalign("index", "check", "--index", "../index")
    assert (code, said.splitlines()[-1].split()) == (0, ["all", "5", "1.000", "1.000"])
    damaged = shutil.copytree(beside / "index", tmp_path / "index")
    next((damaged / "shards").rglob("frames.npy")).write_bytes(b"")
    code, said = structalign("index", "check", "--index", str(damaged))
    assert (code, "damaged" in said) == (1, True)


def test_a_push_without_an_address_names_the_variable(beside: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STRUCTALIGN_QDRANT", raising=False)
    code, said = structalign("index", "push", "--index", "../index")
    assert (code, said.count("\n"), "STRUCTALIGN_QDRANT is not set" in said) == (1, 1, True)
    monkeypatch.setenv("STRUCTALIGN_QDRANT", "http://127.0.0.1:9")
    for arguments in (["index", "push", "--index", "../index"],
                      ["search", "--index", "../index", "--mode", "candidates", "red"]):  # fmt: skip
        code, said = structalign(*arguments)
        assert (code, said.count("\n"), "no Qdrant answers" in said) == (1, 1, True)
