from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import noise

from structalign.errors import UserError
from structalign.model.video_text import TextEmbeddings
from structalign.retrieval import gallery as module
from structalign.retrieval.gallery import read_galleries, score, side_by_side, write_gallery, write_index
from structalign.store import write_json


def store(root: Path, task: int, videos: int = 2) -> Path:
    """One task's gallery and index, as the embed stage writes them; returns the index."""
    folder, index = root / f"gallery/t{task:02d}", root / f"index/t{task:02d}.json"
    folder.mkdir(parents=True)
    rows: list[dict[str, Any]] = [{"id": f"{task}-{v}"} for v in range(videos)]
    write_gallery(folder, "test", rows, noise(videos, 3, 6, seed=task) * 5, noise(videos, 3, 6, seed=task + 50))
    write_index(index, root / f"index/t{task - 1:02d}.json", f"t{task:02d}", folder, "0")
    return index


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_json(tmp_path / "index/t00.json", {"galleries": []})
    store(tmp_path, 1)
    return tmp_path


def test_a_later_index_finds_the_embeddings_of_the_first_task(root: Path) -> None:
    first = read_galleries(root / "index/t01.json", "test")[0].frames
    assert torch.equal(read_galleries(store(root, 2), "test")[0].frames, first)


def test_galleries_come_in_the_order_of_tasks(root: Path) -> None:
    store(root, 2)
    assert [g.task for g in read_galleries(store(root, 3), "test")] == ["t01", "t02", "t03"]


def test_what_is_stored_are_unit_vectors(root: Path) -> None:
    frames = read_galleries(root / "index/t01.json", "test")[0].frames
    assert (frames**2).sum(dim=2).flatten().tolist() == pytest.approx([1.0] * 6)


def test_rows_belong_to_their_videos(root: Path) -> None:
    assert [row["id"] for row in read_galleries(root / "index/t01.json", "test")[0].rows] == ["1-0", "1-1"]


def test_a_changed_gallery_is_noticed(root: Path) -> None:
    file = root / "gallery/t01/test.safetensors"
    tensors = load_file(file)
    save_file({**tensors, "frames": tensors["frames"] * -1}, file)
    with pytest.raises(UserError, match=r"t01/test\.safetensors.*dvc checkout .*gallery/t01"):
        read_galleries(root / "index/t01.json", "test")


def test_a_missing_gallery_is_noticed(root: Path) -> None:
    (root / "gallery/t01/test.json").unlink()
    with pytest.raises(UserError, match=r"t01/test\.json.*dvc checkout"):
        read_galleries(root / "index/t01.json", "test")


def test_a_task_without_videos_has_no_gallery(tmp_path: Path) -> None:
    write_json(tmp_path / "index/t00.json", {"galleries": []})
    assert read_galleries(store(tmp_path, 1, videos=0), "test") == []


def test_small_tiles_give_the_scores_of_one_tile(monkeypatch: pytest.MonkeyPatch) -> None:
    mask = torch.tensor([[True, True, False], [True, False, False], [True, True, True]])
    text, frames = TextEmbeddings(noise(3, 3, 6), mask, noise(3, 6)), noise(2, 4, 6, seed=1)
    whole = score(text, frames)["words"]
    monkeypatch.setattr(module, "QUERIES", 2)
    monkeypatch.setattr(module, "VECTORS", 4)
    torch.testing.assert_close(score(text, frames)["words"], whole)


def test_blocks_of_columns_stand_side_by_side() -> None:
    joined = side_by_side([{"words": torch.zeros(2, 1)}, {"words": torch.ones(2, 3)}])["words"]
    assert joined.tolist() == [[0, 1, 1, 1]] * 2
