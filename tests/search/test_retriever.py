"""`structalign.load`: three lines from a checkpoint to scores, from any folder."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from toy import write_clip

import structalign
from structalign.errors import UserError
from structalign.learning.loading import load_method
from structalign.model.backbone import load_clip
from structalign.model.checkpoint import CheckpointConfig, save_checkpoint
from structalign.model.video_text import ModelConfig, VideoText
from structalign.params.method import METHODS
from structalign.search.retriever import Retriever, _backbone


class Labelled:
    """Like a pandas Series: values in order, each under a label that is not its position."""

    def __init__(self, values: dict[int, Any]) -> None:
        self.values = values

    def __iter__(self) -> Iterator[Any]:
        return iter(self.values.values())

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, label: int) -> Any:
        return self.values[label]


SHAPE = ModelConfig(frames=2, vision_frozen=1, rank=2, alpha=4.0, experts=2, dropout=0.1, etf_dim=16)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint after two tasks in a project whose backbone is the folder data/clip."""
    project = tmp_path_factory.mktemp("project")
    write_clip(project / "data/clip")
    model = VideoText(load_clip(project / "data/clip"), SHAPE, seed=0)
    for task in (1, 2):
        model.add_task_prototype("prototype", task)
    with torch.no_grad():
        for mixture in model.mixtures():
            for number, expert in enumerate(mixture.lora_Bs):
                expert.fill_(0.1 * (number + 1))
    folder = project / "checkpoints/t02"
    folder.mkdir(parents=True)
    config = CheckpointConfig("data/clip", "structalign", 0, ["t01", "t02"], {"cats": 0, "dogs": 1}, SHAPE)
    save_checkpoint(folder, config, model.adapter_state(), {})
    return folder


@pytest.fixture
def retriever(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Retriever:
    monkeypatch.chdir(tmp_path)
    return structalign.load(checkpoint)


def video(seed: int, frames: int = 5) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (frames, 40, 50, 3), dtype=np.uint8)


def test_a_checkpoint_loads_from_any_folder_and_scores(retriever: Retriever) -> None:
    scores = retriever.score(["a", "b c", "d"], [video(0), video(1)])
    assert scores.shape == (3, 2)
    assert bool((scores.abs() <= 1).all())


def test_a_text_is_routed_as_the_newest_task_by_default(retriever: Retriever) -> None:
    assert torch.equal(retriever.encode_text(["a b"]).words, retriever.encode_text(["a b"], task=2).words)


def test_another_task_gives_a_text_another_embedding(retriever: Retriever) -> None:
    assert not torch.equal(retriever.encode_text(["a b"], task=1).words, retriever.encode_text(["a b"], task=2).words)


def test_a_video_is_sampled_at_the_models_number_of_frames(retriever: Retriever) -> None:
    assert retriever.encode_video(video(0, frames=7)).shape == (2, 32)


def test_one_frame_is_enough(retriever: Retriever) -> None:
    one = retriever.encode_video(video(0, frames=1))
    assert torch.allclose(one[0], one[1], atol=1e-5)


def test_an_empty_list_of_texts_is_refused(retriever: Retriever) -> None:
    with pytest.raises(UserError, match="not a list of sentences"):
        retriever.encode_text([])


def test_a_single_sentence_in_place_of_a_list_is_refused(retriever: Retriever) -> None:
    with pytest.raises(UserError, match="'a b' is not a list of sentences"):
        retriever.score("a b", [video(0, frames=1)])


@pytest.mark.parametrize("task", [0, 3])
def test_a_task_that_was_not_learned_is_refused(retriever: Retriever, task: int) -> None:
    with pytest.raises(UserError, match=f"task {task} was not learned: this checkpoint has tasks 1 to 2"):
        retriever.encode_text(["a b"], task)


def test_a_missing_file_is_named(retriever: Retriever, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gone.mp4 cannot be encoded: "):
        retriever.encode_video(tmp_path / "gone.mp4")


def test_an_array_without_frames_is_refused(retriever: Retriever) -> None:
    with pytest.raises(UserError, match="is not a video"):
        retriever.encode_video(video(0, frames=1)[:0])


def test_frames_that_are_not_uint8_are_refused(retriever: Retriever) -> None:
    with pytest.raises(UserError, match=r"float64 of shape \[1, 40, 50, 3\] is not a video"):
        retriever.encode_video(video(0, frames=1) / 1.0)  # type: ignore[arg-type]


def test_an_empty_list_of_videos_is_refused(retriever: Retriever) -> None:
    with pytest.raises(UserError, match="not a list of videos"):
        retriever.score(["a b"], [])


def test_a_folder_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a checkpoint"):
        structalign.load(tmp_path)


def test_a_config_of_something_else_is_refused(checkpoint: Path) -> None:
    with pytest.raises(UserError, match="not a checkpoint's config"):
        structalign.load(checkpoint.parents[1] / "data/clip")


@pytest.mark.parametrize("name", METHODS)
def test_a_checkpoint_of_every_method_loads_and_scores(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The backbone is the project's folder. The checkpoint has one untrained task."""
    project, method = checkpoint.parents[1], load_method(name)
    shape = replace(SHAPE, modules=method.modules, input_kind=method.input_kind) if method.trains else None
    config = CheckpointConfig("data/clip", name, 0, ["t01"], {"cats": 0}, shape, method.similarity)
    folder = project / "checkpoints" / name
    folder.mkdir()
    model = VideoText(load_clip(project / "data/clip"), shape, seed=0) if shape else None
    if model is not None:
        model.add_task("prototype", 1)
    save_checkpoint(folder, config, model.adapter_state() if model is not None else {}, {})
    monkeypatch.chdir(tmp_path)
    scores = structalign.load(folder).score(["a", "b c", "d"], [video(0, frames=2), video(1, frames=2)])
    assert scores.shape == (3, 2)
    assert bool((scores.abs() <= 1 + 1e-6).all())
    assert len(torch.unique(scores)) == 6


def test_texts_may_be_any_list_of_sentences(retriever: Retriever) -> None:
    listed = retriever.encode_text(["a", "b c"]).words
    for texts in (np.array(["a", "b c"]), Labelled({7: "a", 3: "b c"}), ("a", "b c"), iter(["a", "b c"])):
        assert torch.equal(retriever.encode_text(texts).words, listed)
    assert retriever.score(np.array(["a"]), Labelled({7: video(0), 3: video(1)})).shape == (1, 2)


@pytest.mark.parametrize("texts", [None, 3, [None], ["a", float("nan")], [b"a"], np.array([]), Labelled({7: 1.5})])
def test_other_types_than_a_list_of_sentences_are_refused(retriever: Retriever, texts: Any) -> None:
    with pytest.raises(UserError, match="not a list of sentences"):
        retriever.encode_text(texts)


@pytest.mark.parametrize("one", [None, 3, ["a.mp4"]])
def test_other_types_than_a_video_are_refused(retriever: Retriever, one: Any) -> None:
    with pytest.raises(UserError, match="is not a video"):
        retriever.encode_video(one)


@pytest.mark.parametrize("task", ["t02", 1.5, 0, 3])
def test_a_task_is_a_number_that_was_learned(retriever: Retriever, task: Any) -> None:
    with pytest.raises(UserError, match=f"task {task!r} was not learned"):
        retriever.encode_text(["a"], task=task)


@pytest.mark.parametrize("folder", ["/", "/no-such-checkpoint", "x" * 300])
def test_a_folder_that_is_no_checkpoint_is_refused_wherever_it_is(folder: str) -> None:
    with pytest.raises(UserError, match="is not a checkpoint"):
        structalign.load(folder)


def test_a_checkpoint_at_the_root_has_no_project_above_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="the checkpoint's CLIP: no such folder"):
        _backbone(Path("/ckpt").parent.parent, "data/clip", "the checkpoint's CLIP")
