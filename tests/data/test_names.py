"""A missing file gets a hint if a file with a name that looks the same exists."""

import unicodedata
from pathlib import Path

import pytest

from structalign.data.captions import CaptionRow
from structalign.data.manifest_writer import hash_files
from structalign.data.names import spellings


def reason(folder: Path, name: str) -> str:
    """The reported reason why a file of the table is missing."""
    return hash_files([CaptionRow(2, name, "c", "cats", "train", None, None)], folder)[1][name]


@pytest.mark.parametrize(
    ("there", "named"),
    [
        ("Clip.MP4", "clip.mp4"),
        (unicodedata.normalize("NFD", "é.mp4"), unicodedata.normalize("NFC", "é.mp4")),
        (unicodedata.normalize("NFC", "é.mp4"), unicodedata.normalize("NFD", "É.mp4")),
        ("a.mp4", "videos/a.mp4"),
        ("a.mp4", "data/videos/A.mp4"),
        ("sub/a.mp4", "a.mp4"),
    ],
)
def test_a_missing_file_is_named_as_it_is_written(tmp_path: Path, there: str, named: str) -> None:
    (tmp_path / there).parent.mkdir(exist_ok=True)
    (tmp_path / there).touch()
    assert reason(tmp_path, named) == f"the file is missing, and there is {there}"


def test_an_ambiguous_name_gets_no_hint(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.mp4").touch()
    assert reason(tmp_path, "a.mp4") == "the file is missing"
    assert reason(tmp_path, "b.mp4") == "the file is missing"


@pytest.mark.parametrize("other", ["dogs\u200b", "\ufeffdogs", "do\u00adgs", "DOGS\u200e"])
def test_invisible_letters_make_no_other_name(other: str) -> None:
    assert spellings(["dogs", other, "cats"]) == [["dogs", other]]


def test_spellings_of_one_name_are_grouped() -> None:
    composed, apart = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
    names = ["cats", composed, "Cats", "dogs", apart, "cats"]
    assert spellings(names) == [["cats", "Cats"], [composed, apart]]
