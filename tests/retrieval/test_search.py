from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from structalign.errors import UserError
from structalign.model.video_text import TextEmbeddings
from structalign.retrieval.gallery import score, write_gallery, write_index
from structalign.retrieval.retriever import Retriever
from structalign.retrieval.search import Hit, rank_gallery
from structalign.sections.ranking import Ranking
from structalign.store import write_json

NORTH, EAST = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])


class Compass:
    """A retriever whose only word is north routed as task 1 and east routed as task 2."""

    config = SimpleNamespace(tasks=["t01", "t02"])

    def __init__(self, log_prior: torch.Tensor | None = None):
        self.log_prior = log_prior

    def log_task_prior(self, texts: list[str]) -> torch.Tensor | None:
        return self.log_prior

    def encode_text(self, texts: list[str], task: int) -> TextEmbeddings:
        word = NORTH if task == 1 else EAST
        return TextEmbeddings(word[None, None], torch.ones(1, 1, dtype=torch.bool), word[None])

    def compare(self, text: TextEmbeddings, frames: torch.Tensor) -> dict[str, torch.Tensor]:
        return score(text, frames)


def row(name: str, task: str) -> dict[str, Any]:
    return {"id": name, "file": name, "category": 0, "task": task, "start": 10.0, "duration": 4.0, "times": [11, 13]}


@pytest.fixture
def index(tmp_path: Path) -> Path:
    """Task 1 stores a video northern in its second half and an eastern one; task 2 a southern one."""
    write_json(tmp_path / "t00.json", {"galleries": []})
    stored = {
        "t01": {"half": torch.stack([EAST, NORTH]), "east": torch.stack([EAST, EAST])},
        "t02": {"south": torch.stack([-NORTH, -NORTH - EAST])},
    }
    for before, (task, videos) in zip(("t00", "t01"), stored.items(), strict=True):
        folder = tmp_path / task
        folder.mkdir()
        frames = torch.stack(list(videos.values()))
        write_gallery(folder, "test", [row(name, task) for name in videos], frames, frames)
        write_index(tmp_path / f"{task}.json", tmp_path / f"{before}.json", task, folder, "0")
    return tmp_path / "t02.json"


def find(index: Path, log_prior: torch.Tensor | None = None) -> list[Hit]:
    return rank_gallery(cast(Retriever, Compass(log_prior)), index, "north", Ranking(beta=0.5, task_prior=0.1))


def test_the_best_video_comes_first(index: Path) -> None:
    # Word-frame: half ½(1 + ½) = ¾, east 0, south (routed as task 2: east) ½(0 − √½ / 2) < 0.
    assert [hit.file for hit in find(index)] == ["half", "east", "south"]


def test_the_task_prior_adds_its_weight_to_the_videos_of_its_task(index: Path) -> None:
    plain = {hit.file: hit.score for hit in find(index)}
    found = find(index, torch.tensor([[-50.0, -1.0]]))
    assert [hit.file for hit in found] == ["south", "half", "east"]
    gained = {hit.file: hit.score - plain[hit.file] for hit in found}
    assert gained == pytest.approx({"half": -5.0, "east": -5.0, "south": -0.1})


def test_a_hit_shows_the_part_of_its_best_frame(index: Path) -> None:
    assert (find(index)[0].start, find(index)[0].end) == (12.0, 14.0)


def test_a_hit_knows_its_task(index: Path) -> None:
    assert find(index)[2].task == "t02"


def test_an_index_without_videos_is_named(tmp_path: Path) -> None:
    write_json(tmp_path / "t00.json", {"galleries": []})
    with pytest.raises(UserError, match=r"t00\.json names no stored videos of split test"):
        find(tmp_path / "t00.json")
