from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from tiny import tokens
from torch import Tensor

from structalign.errors import UserError
from structalign.formats import INDEX_FORMAT
from structalign.model.backbone import Tokens
from structalign.model.video_text import TextEmbeddings
from structalign.params.ranking import Ranking
from structalign.search.index import Index, write_gallery, write_index, write_signals
from structalign.search.retriever import Retriever
from structalign.search.searcher import Hit, Searcher
from structalign.search.signal import observe
from structalign.search.similarity_heads import HEADS
from structalign.store import write_json

NORTH, EAST = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])


class Compass:
    """An encoder whose only word is north encoded as task 1 and east encoded as task 2."""

    model, head, clip = None, HEADS["fused"], SimpleNamespace(embedding_dim=2)

    def zero_shot(self, tokens: Tokens) -> TextEmbeddings:
        return says(NORTH)

    def as_each(self, tokens: Tokens, tasks: Sequence[int], zero_shot: TextEmbeddings) -> list[TextEmbeddings]:
        return [says(NORTH if task == 1 else EAST) for task in tasks]


def says(word: Tensor) -> TextEmbeddings:
    return TextEmbeddings(word[None, None], torch.ones(1, 1, dtype=torch.bool), word[None])


class Known:
    """A task prior that is given."""

    def __init__(self, logs: Tensor):
        self.logs = logs

    def log(self, zero_shot: TextEmbeddings) -> Tensor:
        return self.logs


def row(name: str, task: str) -> dict[str, Any]:
    return {"id": name, "file": name, "category": 0, "task": task, "start": 10.0, "duration": 4.0, "times": [11, 13]}


@pytest.fixture
def index(tmp_path: Path) -> Path:
    """Task 1 stores a video northern in its second half and an eastern one; task 2 a southern one."""
    write_json(tmp_path / "t00.json", {"format": INDEX_FORMAT, "galleries": []})
    stored = {
        "t01": {"half": torch.stack([EAST, NORTH]), "east": torch.stack([EAST, EAST])},
        "t02": {"south": torch.stack([-NORTH, -NORTH - EAST])},
    }
    for before, (task, videos) in zip(("t00", "t01"), stored.items(), strict=True):
        folder = tmp_path / task
        folder.mkdir()
        frames = torch.stack(list(videos.values()))
        write_gallery(folder, "test", [row(name, task) for name in videos], frames, frames)
        write_signals(folder, observe(says(NORTH), torch.tensor([0]), int(task[1:])))
        write_index(tmp_path / f"{task}.json", tmp_path / f"{before}.json", task, folder, "0")
    return tmp_path / "t02.json"


def find(index: Path, log_prior: Tensor | None = None) -> list[Hit]:
    opened = Index(index)
    opened.states["task_prior"] = Known(torch.zeros(1, 2) if log_prior is None else log_prior)
    compass = cast(Retriever, SimpleNamespace(encoder=Compass(), tokeniser=lambda texts: tokens([1])))
    return Searcher(compass, opened, Ranking(beta=0.5, task_prior=0.1)).search("north")


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
    write_json(tmp_path / "t00.json", {"format": INDEX_FORMAT, "galleries": []})
    with pytest.raises(UserError, match=r"t00\.json names no stored videos of split test"):
        find(tmp_path / "t00.json")
