import errno
import hashlib
from pathlib import Path

import pytest

from structalign.errors import UserError
from structalign.store import digest, read_json, whole, whole_folder, write_json


def test_a_file_appears_when_it_is_complete(tmp_path: Path) -> None:
    with whole(tmp_path / "new/a.txt") as temporary:
        temporary.write_text("all of it")
    assert (tmp_path / "new/a.txt").read_text() == "all of it"


def test_a_file_is_not_seen_while_it_is_written(tmp_path: Path) -> None:
    with whole(tmp_path / "a.txt") as temporary:
        temporary.write_text("half")
        assert not (tmp_path / "a.txt").exists()
        temporary.write_text("whole")


def interrupt(path: Path) -> None:
    def half(temporary: Path) -> None:
        temporary.write_text("half of it")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), whole(path) as temporary:
        half(temporary)


def test_an_interrupted_write_leaves_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("old")
    interrupt(tmp_path / "a.txt")
    assert (tmp_path / "a.txt").read_text() == "old"


def test_an_interrupted_write_leaves_nothing_behind(tmp_path: Path) -> None:
    interrupt(tmp_path / "a.txt")
    assert list(tmp_path.iterdir()) == []


def test_leftovers_of_an_earlier_crash_are_removed(tmp_path: Path) -> None:
    (tmp_path / ".out.part").mkdir()
    (tmp_path / ".out.part/stale").touch()
    with whole_folder(tmp_path / "out") as folder:
        (folder / "fresh").touch()
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["fresh"]


def test_a_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    for name in ("one", "two"):
        with whole_folder(tmp_path / "out") as folder:
            (folder / name).touch()
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["two"]


def test_a_write_that_the_disk_refuses_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a\.txt could not be written"), whole(tmp_path / "a.txt"):
        raise OSError(28, "No space left on device")


def test_a_tensor_file_that_the_disk_refuses_names_the_file(tmp_path: Path) -> None:
    class SafetensorError(Exception):
        """The error as safetensors raises it."""

    said = r"a\.safetensors could not be written \(No space left on device"
    with pytest.raises(UserError, match=said), whole(tmp_path / "a.safetensors"):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")


def test_a_failed_removal_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, **_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(UserError, match=r"a.txt could not be written \(Read-only file system"):
        write_json(tmp_path / "a.txt", {})


def test_a_damaged_file_is_named_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"half": ')
    with pytest.raises(UserError, match=r"a.json is damaged .* copy it again"):
        read_json(tmp_path / "a.json")


def test_a_failed_read_is_not_reported_as_a_failed_write(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), whole(tmp_path / "a.txt"):
        (tmp_path / "absent").read_text()


def test_equal_values_are_equal_bytes(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"x": 1, "y": "é"})
    write_json(tmp_path / "b.json", {"y": "é", "x": 1})
    assert digest(tmp_path / "a.json") == digest(tmp_path / "b.json")


def test_what_is_written_can_be_read(tmp_path: Path) -> None:
    value = {"text": "naïve ×", "list": [1, 2.5, None]}
    write_json(tmp_path / "a.json", value)
    assert read_json(tmp_path / "a.json") == value


def test_nan_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", float("nan"))


def test_a_missing_file_is_named_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a\.json does not exist.*dvc repro"):
        read_json(tmp_path / "a.json")


def test_a_digest_is_the_sha256_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc" * 1000)
    assert digest(tmp_path / "a") == hashlib.sha256(b"abc" * 1000).hexdigest()
