"""An index with its rows on disk is searched like one that is read whole."""

from dataclasses import replace
from pathlib import Path

import pytest
from library_case import clip_folder, indexed, plain
from videos import maker

from structalign.library import folder_index, table_writing
from structalign.library.candidates import Mode
from structalign.library.entries import Filters
from structalign.library.folder_index import FolderIndex, refresh
from structalign.library.hits import Hit
from structalign.library.store import SHARDS
from structalign.library.table import open_table

COLOURS = ("red", "blue", "green", "white")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index with a table, of which a file was hidden after it was indexed."""
    folder = tmp_path_factory.mktemp("table")
    (folder / "videos/below").mkdir(parents=True)
    make = maker(folder / "videos")
    for number, colour in enumerate(COLOURS):
        make(f"{'below/' * (number % 2)}{colour}.mp4", plain(colour, 3 + 18 * (number == 2)))
    make("an 'odd' % \udcff_ name.mp4", plain("black"))
    make("gone.mp4", plain("white", 5))
    clip = clip_folder(folder / "clip")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table_writing, "LEAST", 1)
        indexed(folder / "videos", clip, folder / "index")
        (folder / "videos/gone.mp4").unlink()
        (folder / "videos/again.mp4").write_bytes((folder / "videos/red.mp4").read_bytes())
        refresh(FolderIndex(folder / "index"))
    return folder / "index"


@pytest.fixture
def stored(place: Path) -> FolderIndex:
    index = FolderIndex(place)
    assert index.table is not None
    return index


@pytest.fixture
def whole(place: Path, monkeypatch: pytest.MonkeyPatch) -> FolderIndex:
    monkeypatch.setattr(folder_index, "open_table", lambda path: None)
    return FolderIndex(place)


def ids(hits: list[Hit]) -> list[str]:
    return [hit.id for hit in hits]


MODES: list[Mode] = ["exact", "candidates"]


@pytest.mark.parametrize("mode", MODES)
def test_hits_are_the_same(stored: FolderIndex, whole: FolderIndex, mode: Mode) -> None:
    one, other = stored.search("red", mode=mode), whole.search("red", mode=mode)
    assert [replace(hit, above=0) for hit in one] == [replace(hit, above=0) for hit in other]
    assert [hit.above for hit in one] == pytest.approx([hit.above for hit in other], abs=1e-4)


def test_all_rows_are_the_same(stored: FolderIndex, whole: FolderIndex) -> None:
    rows = list(whole.entries.rows)
    assert list(stored.entries.rows) == rows
    assert [stored.entries.rows[place] for place in range(len(stored))] == rows
    assert stored.entries.rows[1:3] == rows[1:3]
    assert (stored.files, len(stored), stored.generation) == (whole.files, len(whole), whole.generation)


def test_lookups_are_the_same(stored: FolderIndex, whole: FolderIndex) -> None:
    for entry in whole.entries.rows:
        assert stored.entries.place(entry.id) == whole.entries.place(entry.id)
        assert stored.entries.of_group(entry.group) == whole.entries.of_group(entry.group)
        for name in (entry.file, *entry.also):
            assert stored.entries.of_file(name) == whole.entries.of_file(name)
        assert ids(stored.similar(entry.id)) == ids(whole.similar(entry.id))
    assert stored.entries.place("none") is None
    assert set(stored.entries.names()) == set(whole.entries.names())
    assert stored.entries.values("category") == whole.entries.values("category") == set()


def test_filters_are_the_same(stored: FolderIndex, whole: FolderIndex) -> None:
    below = Path(whole.about["folders"][0]) / "below"
    for mode in MODES:
        assert ids(stored.search("red", folder=below, mode=mode)) == ids(whole.search("red", folder=below, mode=mode))
    for filters in (Filters(), Filters(folder="/nowhere"), Filters(category="none")):
        one, other = stored.entries.admitted(filters), whole.entries.admitted(filters)
        assert (one is None) == (other is None)
        assert one is None or other is None or one.tolist() == other.tolist()


def test_moments_and_sample_are_those_of_the_vectors_that_can_be_found(stored: FolderIndex, whole: FolderIndex) -> None:
    one, other = stored.finder, whole.finder
    assert one.moments[0].count == other.moments[0].count
    assert one.moments[0].second == pytest.approx(other.moments[0].second, abs=1e-5)
    assert one.sample[0] == other.sample[0]
    assert one.sample[1].tolist() == other.sample[1].tolist()


def test_a_table_of_another_generation_or_a_damaged_one_is_not_used(place: Path) -> None:
    (file,) = place.glob("table-*.sqlite")
    data = file.read_bytes()
    file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert open_table(place) is None
    file.write_bytes(data)
    assert open_table(place) is not None
    means = next((place / SHARDS).rglob("means.npy"))
    vectors = means.read_bytes()
    means.write_bytes(vectors[:-1] + bytes([vectors[-1] ^ 1]))
    assert open_table(place) is None
    means.write_bytes(vectors)
    refresh(FolderIndex(place))  # nothing changed
    assert open_table(place) is not None
