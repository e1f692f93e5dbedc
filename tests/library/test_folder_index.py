"""An index of raw folders: only new files are encoded, the folders do not change, and a kill loses nothing."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from codemap import ROOT
from library_case import clip_folder, indexed, plain
from videos import Make, ffmpeg, maker

import structalign
from structalign.errors import UserError
from structalign.library.compacting import compact
from structalign.library.folder_index import FolderIndex, begin, refresh
from structalign.library.places import place_of
from structalign.library.sampling import Sampler
from structalign.library.store import MANIFEST, SHARDS, Progress, read, writing
from structalign.library.video_index import UnknownId


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny CLIP."""
    return clip_folder(tmp_path_factory.mktemp("clip"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "videos/below").mkdir(parents=True)
    make = maker(tmp_path / "videos")
    make("red.mp4", plain("red"))
    make("below/blue.mkv", plain("blue"))
    return tmp_path / "videos"


@pytest.fixture
def make(folder: Path) -> Make:
    return maker(folder)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "index"


@pytest.fixture
def described(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are decoded."""
    names: list[str] = []
    whole = Sampler.describe

    def describe(self: Sampler, path: Path) -> object:
        names.append(path.name)
        return whole(self, path)

    monkeypatch.setattr(Sampler, "describe", describe)
    return names


def files(index: FolderIndex) -> set[str]:
    return {Path(entry.file).name for entry in index.entries.rows}


def test_videos_of_all_folders_below_are_found(folder: Path, clip: Path, place: Path) -> None:
    index, summary = indexed(folder, clip, place)
    assert files(index) == {"red.mp4", "blue.mkv"}
    assert (len(summary.encoded), summary.broken) == (2, {})
    assert {Path(hit.file).name for hit in index.search("red")} == files(index)


def test_a_second_start_only_encodes_new_files(
    folder: Path, clip: Path, place: Path, make: Make, described: list[str]
) -> None:
    indexed(folder, clip, place)
    described.clear()
    make("green.mp4", plain("green"))
    index, summary = indexed(folder, clip, place)
    assert (described, summary.unchanged) == (["green.mp4"], 2)
    assert files(index) == {"red.mp4", "blue.mkv", "green.mp4"}


def test_a_touched_file_is_hashed_and_not_encoded(folder: Path, clip: Path, place: Path, described: list[str]) -> None:
    indexed(folder, clip, place)
    described.clear()
    os.utime(folder / "red.mp4", (1, 1))
    index, _ = indexed(folder, clip, place)
    assert described == []
    assert files(index) == {"red.mp4", "blue.mkv"}


def test_a_changed_file_replaces_its_former_entry(folder: Path, clip: Path, place: Path, make: Make) -> None:
    before, _ = indexed(folder, clip, place)
    make("red.mp4", plain("white", 4))
    after, _ = indexed(folder, clip, place)
    ids = [{entry.id for entry in index.entries.rows if entry.file.endswith("red.mp4")} for index in (before, after)]
    assert len(ids[1]) == 1
    assert ids[0] != ids[1]


def test_a_moved_file_keeps_its_vectors(folder: Path, clip: Path, place: Path, described: list[str]) -> None:
    indexed(folder, clip, place)
    described.clear()
    (folder / "red.mp4").rename(folder / "below/moved.mp4")
    index, summary = indexed(folder, clip, place)
    assert described == []
    assert ([Path(path).name for path in summary.moved], summary.gone) == (["moved.mp4"], [])
    assert files(index) == {"moved.mp4", "blue.mkv"}


def test_a_vanished_file_is_hidden_and_found_again_when_it_comes_back(
    folder: Path, clip: Path, place: Path, described: list[str], tmp_path: Path
) -> None:
    indexed(folder, clip, place)
    described.clear()
    (folder / "red.mp4").rename(tmp_path / "red.mp4")
    index, summary = indexed(folder, clip, place)
    assert files(index) == {"blue.mkv"}
    assert [Path(path).name for path in summary.gone] == ["red.mp4"]
    (tmp_path / "red.mp4").rename(folder / "red.mp4")
    assert files(indexed(folder, clip, place)[0]) == {"red.mp4", "blue.mkv"}
    assert described == []


def test_equal_files_are_one_result_that_names_both(folder: Path, clip: Path, place: Path) -> None:
    shutil.copy(folder / "red.mp4", folder / "again.mp4")
    index, summary = indexed(folder, clip, place)
    assert len(index) == 2
    assert len(summary.duplicates) == 1
    hit = next(hit for hit in index.search("red") if hit.also)
    assert {Path(name).name for name in (hit.file, *hit.also)} == {"red.mp4", "again.mp4"}


def test_videos_are_recognised_by_content_and_not_by_name(folder: Path, clip: Path, place: Path) -> None:
    (folder / "red.mp4").rename(folder / "no name at all")
    (folder / "notes.txt").write_text("words\n", encoding="utf-8")
    (folder / "photo.mp4").write_bytes((ROOT / "docs/report.png").read_bytes())
    (folder / "data.bin").write_bytes(bytes(range(256)) * 8)
    index, summary = indexed(folder, clip, place)
    assert files(index) == {"no name at all", "blue.mkv"}
    assert summary.broken == {}
    assert summary.skipped == {"still pictures": 1, "other files": 2}


def test_sounds_and_still_pictures_are_counted_by_kind(folder: Path, clip: Path, place: Path) -> None:
    for name in ("song.m4a", "song.ogg", "song.mp3", "named as a video.mp4"):
        ffmpeg("-f", "lavfi", "-i", "sine=duration=0.2", folder / name)
    for name in ("photo.jpg", "photo.webp", "photo.gif"):
        ffmpeg("-f", "lavfi", "-i", "color=red:size=48x48", "-frames:v", "1", folder / name)
    for unchanged in (0, 2):
        _, summary = indexed(folder, clip, place)
        assert summary.unchanged == unchanged
        assert summary.skipped == {"sounds": 3, "still pictures": 3}
        assert {Path(path).name: reason for path, reason in summary.broken.items()} == {
            "named as a video.mp4": "it has no video stream"
        }


def test_a_broken_video_is_named_and_not_tried_again(
    folder: Path, clip: Path, place: Path, described: list[str]
) -> None:
    (folder / "broken.mp4").write_bytes((folder / "red.mp4").read_bytes()[:300])
    (folder / "empty.mp4").touch()
    for _ in range(2):
        _, summary = indexed(folder, clip, place)
        assert sorted(Path(path).name for path in summary.broken) == ["broken.mp4", "empty.mp4"]
    assert described.count("broken.mp4") == 1


def test_hidden_files_and_links_out_are_skipped_and_counted(
    folder: Path, clip: Path, place: Path, tmp_path: Path
) -> None:
    outside = maker(tmp_path)("outside.mp4", plain("white"))
    (folder / "link.mp4").symlink_to(outside)
    (folder / "inside.mp4").symlink_to(folder / "red.mp4")
    (folder / "up").symlink_to(tmp_path)
    (folder / "loop").symlink_to(folder)
    (folder / ".hidden.mp4").write_bytes((folder / "red.mp4").read_bytes())
    (folder / ".git").mkdir()
    index, _ = indexed(folder, clip, place)
    assert files(index) == {"red.mp4", "blue.mkv"}
    skipped = index.snapshot.catalogue.skipped
    assert (skipped["hidden"], skipped["links to places outside the folder"]) == (2, 2)


def test_nothing_is_written_into_the_folder(folder: Path, clip: Path, place: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    indexed(folder, clip, place)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_an_index_among_the_videos_is_refused(folder: Path, clip: Path) -> None:
    for place in (folder, folder / "index"):
        with pytest.raises(UserError, match="which is to be indexed: choose a place outside it"):
            begin([folder], str(clip), place)
    assert not (folder / "index").exists()


def test_a_folder_with_other_files_is_refused_for_an_index(folder: Path, clip: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine.txt").touch()
    with pytest.raises(UserError, match="full has other files"):
        begin([folder], str(clip), tmp_path / "full")
    assert [file.name for file in (tmp_path / "full").iterdir()] == ["mine.txt"]


def test_the_default_place_of_an_index_depends_on_folders_and_clip(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    assert place_of([one], "a") == place_of([one], "a")
    assert len({place_of([one], "a"), place_of([other], "a"), place_of([one], "b"), place_of([one, other], "a")}) == 4


def test_a_clip_other_than_the_index_s_is_refused(folder: Path, clip: Path, place: Path, tmp_path: Path) -> None:
    indexed(folder, clip, place)
    other = shutil.copytree(clip, tmp_path / "other")
    (other / "config.json").write_text((other / "config.json").read_text() + "\n", encoding="utf-8")
    with pytest.raises(UserError, match="was made with"):
        begin([folder], str(other), place)


def test_a_clip_that_changed_since_indexing_is_refused_by_a_search(
    folder: Path, clip: Path, place: Path, tmp_path: Path
) -> None:
    own = shutil.copytree(clip, tmp_path / "own")
    indexed(folder, own, place)
    (own / "config.json").write_text((own / "config.json").read_text() + "\n", encoding="utf-8")
    with pytest.raises(UserError, match="no longer the CLIP"):
        FolderIndex(place).search("red")


@pytest.mark.parametrize("name", ["missing", "red.mp4"])
def test_a_path_that_is_no_folder_is_named(folder: Path, clip: Path, place: Path, name: str) -> None:
    with pytest.raises(UserError, match=f"{name} (does not exist|is not a folder)"):
        begin([folder / name], str(clip), place)


def test_names_that_are_not_utf_8_are_indexed(folder: Path, clip: Path, place: Path) -> None:
    odd = os.fsdecode(b"\xff \x1b[31m\n.mp4")
    (folder / "red.mp4").rename(folder / odd)
    index, _ = indexed(folder, clip, place)
    assert odd in files(index)


def test_a_second_writer_learns_who_holds_the_lock(folder: Path, clip: Path, place: Path) -> None:
    index, _ = indexed(folder, clip, place)
    with writing(place, {}), pytest.raises(UserError, match=rf"is being written by process {os.getpid()} on .* since"):
        refresh(index)
    refresh(index)


def test_a_reader_reads_while_another_writes(folder: Path, clip: Path, place: Path) -> None:
    indexed(folder, clip, place)
    with writing(place, {}):
        assert len(structalign.open_index(place)) == 2


def test_a_search_reports_a_newer_index(folder: Path, clip: Path, place: Path, make: Make) -> None:
    index, _ = indexed(folder, clip, place)
    assert not index.newer()
    make("green.mp4", plain("green"))
    indexed(folder, clip, place)
    assert index.newer()


def test_a_damaged_shard_is_refused_when_the_index_is_opened(folder: Path, clip: Path, place: Path) -> None:
    index, _ = indexed(folder, clip, place)
    file = place / SHARDS / index.shards[0].entry.name / "frames.npy"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(UserError, match=r"frames\.npy is missing or not what was written"):
        structalign.open_index(place)


@pytest.mark.parametrize("text", ["", "[]", '{"format": 1}', '{"format": 99}', "{"])
def test_an_invalid_manifest_is_refused(folder: Path, clip: Path, place: Path, text: str) -> None:
    indexed(folder, clip, place)
    (place / MANIFEST).write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=r"manifest\.json"):
        structalign.open_index(place)


def test_compacting_erases_vanished_videos_and_changes_no_others(
    folder: Path, clip: Path, place: Path, make: Make
) -> None:
    indexed(folder, clip, place)
    make("green.mp4", plain("green"))
    before, _ = indexed(folder, clip, place)
    kept = {hit.file: hit.score for hit in before.search("red") if not hit.file.endswith("red.mp4")}
    (folder / "red.mp4").unlink()
    indexed(folder, clip, place)
    with writing(place, {}) as writer:
        assert compact(writer) > 0
    after = FolderIndex(place)
    assert len(after.snapshot.shards) == 1
    assert len(list((place / SHARDS).iterdir())) == 1
    assert {hit.file: hit.score for hit in after.search("red")} == pytest.approx(kept, abs=1e-6)
    assert len(after.snapshot.catalogue.contents) == 2


KILLED = """
import os, sys
from pathlib import Path
from structalign.library import indexing, store
from structalign.library.folder_index import FolderIndex, begin, refresh
at, count = int(sys.argv[4]), 0
def counting(write):
    def wrapped(*args, **kwargs):
        global count
        count += 1
        if count == at:
            os.kill(os.getpid(), 9)
        return write(*args, **kwargs)
    return wrapped
path = begin([Path(sys.argv[1])], sys.argv[2], Path(sys.argv[3]))
index = FolderIndex(path)
index.encoder
indexing.FIRST = 0.0
store._write = counting(store._write)
store.np.save = counting(store.np.save)
store.digest = counting(store.digest)
refresh(index)
print("done")
"""


@pytest.mark.slow
def test_indexing_that_was_killed_at_any_write_can_be_resumed(
    folder: Path, clip: Path, place: Path, tmp_path: Path
) -> None:
    indexed(folder, clip, tmp_path / "whole")
    expected = {entry.id for entry in FolderIndex(tmp_path / "whole").entries.rows}
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    for at in range(1, 40, 7):
        shutil.rmtree(place, ignore_errors=True)
        command = [sys.executable, "-c", KILLED, str(folder), str(clip), str(place), str(at)]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        assert {entry.id for entry in FolderIndex(place).entries.rows} <= expected
        index, _ = indexed(folder, clip, place)
        assert {entry.id for entry in index.entries.rows} == expected
        assert {path.name for path in (place / SHARDS).iterdir()} == {entry.name for entry in read(place).shards}
        if "done" in done.stdout:
            break
        assert done.returncode == -9, done.stderr
    else:
        pytest.fail("it was killed at every write that was tried")


def test_the_stored_vectors_are_those_of_the_shown_frames(folder: Path, clip: Path, place: Path) -> None:
    index, _ = indexed(folder, clip, place)
    shard, row = index._where[0]
    mean = shard.frames[row].astype(np.float64).mean(axis=0)
    assert np.allclose(mean / np.linalg.norm(mean), index.entries.means[0], atol=2e-3)


def test_sentences_searched_together_give_the_results_of_each(folder: Path, clip: Path, place: Path) -> None:
    index, _ = indexed(folder, clip, place)
    sentences = ["red", "a blue white green", "black black a red", "blue", "a a a a a a a"]
    alone = [FolderIndex(place).search(sentence) for sentence in sentences]
    index.read(sentences)
    assert [index.search(sentence) for sentence in sentences] == alone


def test_a_file_is_shown_below_its_folder_and_read_where_it_is(folder: Path, clip: Path, place: Path) -> None:
    index, _ = indexed(folder, clip, place)
    hit = next(hit for hit in index.search("red") if hit.file.endswith("blue.mkv"))
    assert index.shown(hit.file) == "below/blue.mkv"
    assert index.path_of(hit.id) == folder / "below/blue.mkv"
    (folder / "below/blue.mkv").unlink()
    with pytest.raises(UnknownId, match="missing: index again"):
        index.path_of(hit.id)


@pytest.mark.parametrize("what", ["file", "folder"])
def test_a_link_in_place_of_a_file_or_folder_is_not_read(
    what: str, folder: Path, clip: Path, place: Path, tmp_path: Path
) -> None:
    index, _ = indexed(folder, clip, place)
    hit = next(hit for hit in index.search("red") if hit.file.endswith("blue.mkv"))
    moved = tmp_path / "elsewhere"
    (folder / "below").rename(moved)
    if what == "folder":
        (folder / "below").symlink_to(moved)
    else:
        (folder / "below").mkdir()
        (folder / "below/blue.mkv").symlink_to(moved / "blue.mkv")
    with pytest.raises(UnknownId):
        index.path_of(hit.id)


def test_a_writer_s_progress_can_be_read_until_it_ends(folder: Path, clip: Path, place: Path) -> None:
    index, _ = indexed(folder, clip, place)
    with writing(place, {}) as writer:
        assert index.progress() == Progress(0, 0)
        writer.tell(3, 10)
        assert index.progress() == Progress(3, 10)
    assert index.progress() is None


def test_an_index_opened_again_keeps_its_loaded_model(folder: Path, clip: Path, place: Path, make: Make) -> None:
    index, _ = indexed(folder, clip, place)
    index.search("red")
    make("green.mp4", plain("green"))
    refresh(index)
    assert index.newer()
    again = index.reopened()
    assert (again.files, again.newer()) == (3, False)
    assert again.encoder is index.encoder
