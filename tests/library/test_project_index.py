import os
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
from structalign.library.chain import Chain
from structalign.library.hits import Hit
from structalign.library.project_index import ProjectIndex
from structalign.library.video_index import UnknownId
from structalign.model.backbone import Tokens
from structalign.model.video_text import TextEmbeddings
from structalign.search.index import write_gallery, write_index, write_signals
from structalign.search.signal import observe
from structalign.search.similarity_heads import HEADS
from structalign.store import write_json

NORTH, EAST = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])


class Compass:
    """An encoder whose only word is north when routed as task 1, and east when routed as task 2."""

    model, head, clip = None, HEADS["fused"], SimpleNamespace(embedding_dim=2)

    def zero_shot(self, tokens: Tokens) -> TextEmbeddings:
        return says(NORTH)

    def as_each(self, tokens: Tokens, tasks: Sequence[int], zero_shot: TextEmbeddings) -> list[TextEmbeddings]:
        return [says(NORTH if task == 1 else EAST) for task in tasks]


def says(word: Tensor) -> TextEmbeddings:
    return TextEmbeddings(word[None, None], torch.ones(1, 1, dtype=torch.bool), word[None], torch.ones(1, 1).long())


class Known:
    """A task prior with given values."""

    def __init__(self, logs: Tensor):
        self.logs = logs

    def log(self, zero_shot: TextEmbeddings) -> Tensor:
        return self.logs


def row(name: str, task: str) -> dict[str, Any]:
    return {"id": name, "file": name, "category": 0, "task": task, "start": 10.0, "duration": 4.0, "times": [11, 13]}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Task 1 stores a video northern in its second half and an eastern one; task 2 a southern one."""
    indexes = tmp_path / "work/index"
    write_json(indexes / "t00.json", {"format": INDEX_FORMAT, "galleries": []})
    stored = {
        "t01": {"half": torch.stack([EAST, NORTH]), "east": torch.stack([EAST, EAST])},
        "t02": {"south": torch.stack([-NORTH, -NORTH - EAST])},
    }
    for before, (task, videos) in zip(("t00", "t01"), stored.items(), strict=True):
        folder = tmp_path / "work/gallery" / task
        folder.mkdir(parents=True)
        frames = torch.stack(list(videos.values()))
        write_gallery(folder, "val", [], frames[:0], frames[:0])
        write_gallery(folder, "test", [row(name, task) for name in videos], frames, frames)
        write_signals(folder, observe(says(NORTH), torch.tensor([0]), int(task[1:])))
        write_index(indexes / f"{task}.json", indexes / f"{before}.json", task, folder, "0")
        write_json(
            tmp_path / "work/manifest" / task / "videos.json", {"videos": [{"id": id, "sha256": id} for id in videos]}
        )
    (tmp_path / "params.yaml").write_text("ranking: {beta: 0.5, task_prior: 0.1, word_prior: 0}\n", encoding="utf-8")
    return tmp_path


def opened(project: Path, log_prior: Tensor | None = None) -> ProjectIndex:
    index = ProjectIndex(project, chain=Chain(project, ["t01", "t02"], {0: "winds"}))
    index._index.states["task_prior"] = Known(torch.zeros(1, 2) if log_prior is None else log_prior)
    index.retriever = cast(Any, SimpleNamespace(encoder=Compass(), tokeniser=lambda texts: tokens([1])))
    return index


def find(project: Path, log_prior: Tensor | None = None) -> list[Hit]:
    return opened(project, log_prior).search("north")


def test_the_best_video_comes_first(project: Path) -> None:
    # Word-frame: half ½(1 + ½) = ¾, east 0, south (routed as task 2: east) ½(0 − √½ / 2) < 0.
    assert [hit.file for hit in find(project)] == ["half", "east", "south"]


def test_the_task_prior_adds_its_weight_to_the_videos_of_its_task(project: Path) -> None:
    plain = {hit.file: hit.score for hit in find(project)}
    found = find(project, torch.tensor([[-50.0, -1.0]]))
    assert [hit.file for hit in found] == ["south", "half", "east"]
    gained = {hit.file: hit.score - plain[hit.file] for hit in found}
    assert gained == pytest.approx({"half": -5.0, "east": -5.0, "south": -0.1})


def test_a_hit_shows_the_part_of_its_best_frame(project: Path) -> None:
    assert (find(project)[0].start, find(project)[0].end) == (12.0, 14.0)


def test_a_hit_has_its_task(project: Path) -> None:
    assert find(project)[2].task == "t02"


def test_a_filter_changes_neither_order_nor_scores(project: Path) -> None:
    index = opened(project)
    everything = index.search("north")
    assert index.search("north", task="t01") == [hit for hit in everything if hit.task == "t01"]


def test_a_filter_without_matches_names_the_choices(project: Path) -> None:
    with pytest.raises(UserError, match="no stored video has the category 'tides': choose one of winds"):
        opened(project).search("north", category="tides")


def test_a_page_continues_where_the_previous_one_ended(project: Path) -> None:
    index = opened(project)
    assert index.search("north", top=2) + index.search("north", top=2, offset=2) == index.search("north")


def test_an_index_without_videos_is_named(project: Path) -> None:
    with pytest.raises(UserError, match=r"t02\.json names no stored videos of split val"):
        ProjectIndex(project, split="val", chain=Chain(project, ["t01", "t02"], {0: "winds"}))


def test_clips_that_are_not_stored_for_search_are_named(project: Path) -> None:
    assert opened(project).note == "the training clips of t01, t02 are not stored for search: run `dvc repro`."


def test_a_score_is_shown_relative_to_the_average_video(project: Path) -> None:
    hits = find(project, torch.tensor([[-5000.0, -1.0]]))
    assert sum(hit.above for hit in hits) == pytest.approx(0)
    assert max(abs(hit.above) for hit in hits) < 3


@pytest.mark.parametrize("file", ["params.yaml", "work/index/t02.json"])
def test_a_run_that_writes_files_again_makes_an_open_index_outdated(project: Path, file: str) -> None:
    index = opened(project)
    assert not index.newer()
    path = project / file
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
    assert index.newer()


def test_a_run_that_removes_files_makes_an_open_index_outdated(project: Path) -> None:
    index = opened(project)
    (project / "work/index/t02.json").unlink()
    assert index.newer()


def test_a_clip_is_shown_as_in_the_table_and_read_in_the_collection(project: Path) -> None:
    index = opened(project)
    id = next(row.id for row in index.entries.rows if row.file == "south")
    with pytest.raises(UnknownId):
        index.path_of(id)
    (project / "data/videos").mkdir(parents=True)
    (project / "data/videos/south").write_bytes(b"video")
    assert (index.path_of(id), index.shown("south")) == (project / "data/videos/south", "south")
    (project / "data/videos/south").unlink()
    (project / "data/videos/south").symlink_to(project / "params.yaml")
    with pytest.raises(UnknownId):
        index.path_of(id)


def test_an_added_file_is_shown_without_its_folder(project: Path) -> None:
    assert opened(project).shown("/home/someone/films/cat.mp4") == "cat.mp4"
