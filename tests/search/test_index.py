from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import noise

from structalign.errors import UserError
from structalign.formats import INDEX_FORMAT
from structalign.model.video_text import TextEmbeddings
from structalign.search.index import Gallery, Index, newest_encoder, write_gallery, write_index, write_signals
from structalign.search.signal import observe
from structalign.store import read_json, write_json


def store(root: Path, task: int, videos: int = 2) -> Path:
    """One task's gallery and index, as the embed stage writes them; returns the index."""
    folder, index = root / f"gallery/t{task:02d}", root / f"index/t{task:02d}.json"
    folder.mkdir(parents=True)
    rows: list[dict[str, Any]] = [{"id": f"{task}-{v}"} for v in range(videos)]
    write_gallery(folder, "test", rows, noise(videos, 3, 6, seed=task) * 5, noise(videos, 3, 6, seed=task + 50))
    mask = torch.ones(4, 2, dtype=torch.bool)
    captions = TextEmbeddings(noise(4, 2, 6, seed=task), mask, noise(4, 6), torch.arange(8).view(4, 2))
    write_signals(folder, observe(captions, 2 * task + torch.tensor([0, 0, 1, 1]), task))
    write_index(index, root / f"index/t{task - 1:02d}.json", f"t{task:02d}", folder, "0")
    return index


def galleries(index: Path) -> list[Gallery]:
    return Index(index).galleries("test")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_json(tmp_path / "index/t00.json", {"format": INDEX_FORMAT, "galleries": []})
    store(tmp_path, 1)
    return tmp_path


def test_a_later_index_finds_the_embeddings_of_the_first_task(root: Path) -> None:
    first = galleries(root / "index/t01.json")[0].frames
    assert torch.equal(galleries(store(root, 2))[0].frames, first)


def test_galleries_come_in_the_order_of_tasks(root: Path) -> None:
    store(root, 2)
    assert [g.task for g in galleries(store(root, 3))] == ["t01", "t02", "t03"]


def test_stored_vectors_are_unit_vectors(root: Path) -> None:
    frames = galleries(root / "index/t01.json")[0].frames
    assert (frames**2).sum(dim=2).flatten().tolist() == pytest.approx([1.0] * 6)


def test_rows_belong_to_their_videos(root: Path) -> None:
    assert [row["id"] for row in galleries(root / "index/t01.json")[0].rows] == ["1-0", "1-1"]


def test_a_changed_gallery_is_noticed(root: Path) -> None:
    file = root / "gallery/t01/test.safetensors"
    tensors = load_file(file)
    save_file({**tensors, "frames": tensors["frames"] * -1}, file)
    with pytest.raises(UserError, match=r"t01/test\.safetensors is damaged"):
        galleries(root / "index/t01.json")


def test_a_missing_gallery_is_noticed(root: Path) -> None:
    (root / "gallery/t01/test.json").unlink()
    with pytest.raises(UserError, match=r"t01/test\.json.*dvc checkout"):
        galleries(root / "index/t01.json")


def test_a_task_without_videos_has_no_gallery(tmp_path: Path) -> None:
    write_json(tmp_path / "index/t00.json", {"format": INDEX_FORMAT, "galleries": []})
    assert galleries(store(tmp_path, 1, videos=0)) == []


def test_a_damaged_file_is_noticed_when_the_index_is_opened_not_at_a_search(root: Path) -> None:
    opened = Index(root / "index/t01.json")
    (root / "gallery/t01/val.json").unlink(missing_ok=True)
    (root / "gallery/t01/signals.safetensors").write_bytes(b"damaged")
    assert len(opened.galleries("test")) == 1
    with pytest.raises(UserError, match=r"t01/signals\.safetensors is damaged"):
        Index(root / "index/t01.json")


def test_signals_get_the_statistics_of_all_tasks(root: Path) -> None:
    assert Index(store(root, 2)).states["task_prior"].task.tolist() == [1, 1, 2, 2]


def test_an_index_without_a_format_is_refused(root: Path) -> None:
    index = root / "index/t01.json"
    write_json(index, {"galleries": read_json(index)["galleries"]})
    for read in (Index, newest_encoder, lambda path: store(root, 2)):
        with pytest.raises(UserError, match=r"index/t01\.json was written by an older version.*`dvc repro`"):
            read(index)


def test_an_index_without_the_words_of_training_captions_is_refused(root: Path) -> None:
    index = root / "index/t01.json"
    write_json(index, read_json(index) | {"format": 2})
    with pytest.raises(UserError, match=r"index/t01\.json was written by an older version.*`dvc repro`"):
        Index(index)


def test_an_index_of_a_newer_format_is_refused(root: Path) -> None:
    index = root / "index/t01.json"
    write_json(index, read_json(index) | {"format": INDEX_FORMAT + 1})
    with pytest.raises(UserError, match=r"index/t01\.json has format 4.*update structalign"):
        Index(index)
