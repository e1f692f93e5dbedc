"""Towers prepared for CUDA graphs give the towers' outputs. Recording itself needs a GPU and is not tested here."""

from pathlib import Path

import pytest
import torch
from tiny import FRAMES, IMAGE, begin_task, noise, second_task_of, shaken, tiny_clip, tiny_model, tokens
from torch import nn

from structalign.learning.batches import Pairs, batches
from structalign.learning.cuda_graphs import FrameTower, TextTower, pad_batch, recordable
from structalign.learning.trainer import Trainer
from structalign.model.video_text import ModelConfig, VideoText


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def unrecorded(tower: nn.Module, sample: tuple[torch.Tensor, ...], allow_unused_input: bool) -> nn.Module:
        return tower

    monkeypatch.setattr("torch.cuda.make_graphed_callables", unrecorded)


def whole_batch(trainer: Trainer) -> Pairs:
    batch = next(batches(trainer.epoch(0), trainer.settings.shared.batch))
    assert len(batch.caption) == trainer.settings.shared.batch
    return batch


@torch.no_grad()
def test_the_frame_tower_encodes_as_the_model() -> None:
    model = shaken(tiny_model())
    states = model.clip.vision_prefix(noise(2 * FRAMES, 3, IMAGE, IMAGE), 1).unflatten(0, (2, FRAMES))  # type: ignore[no-untyped-call]
    assert torch.equal(FrameTower(model, "fp32")(states), model.encode_frames(states))


@pytest.mark.parametrize("task", [1, 2])
@torch.no_grad()
def test_the_text_tower_encodes_as_the_model(task: int) -> None:
    model, batch = shaken(tiny_model(tasks=2)), tokens([5, 6, 7], [8])
    expected = model.encode_text(batch, torch.full((2,), task)).words
    assert torch.equal(TextTower(model, task)(batch.ids, batch.eot), expected)


def test_a_short_batch_is_padded_with_its_first_row() -> None:
    assert pad_batch(torch.tensor([[1], [2]]), 4).tolist() == [[1], [2], [1], [1]]
    assert pad_batch(torch.tensor([[1], [2]]), 2).tolist() == [[1], [2]]


@pytest.mark.parametrize("lacking", [0, 1])
@pytest.mark.parametrize("task", [1, 2])
def test_a_step_with_recorded_towers_is_the_same_step(tmp_path: Path, task: int, lacking: int) -> None:
    found, trainers = [], []
    for record in (False, True):
        folder = tmp_path / str(record)
        trainer = begin_task(folder, "structalign", 1) if task == 1 else second_task_of(folder, "structalign")
        adamw, plan = trainer.start(), whole_batch(trainer)
        for mixture in trainer.model.mixtures():
            mixture.dropout.p = 0.0  # longer captions draw more
        if record:
            trainer.record(plan)
        some = slice(len(plan.caption) - lacking)
        part = Pairs(plan.caption[some], plan.video[some], plan.view[some])
        torch.manual_seed(0)
        found.append(trainer.step(adamw, 1.0, part, 0, task, 0))
        trainers.append(trainer)
    assert found[0] == pytest.approx(found[1], rel=1e-5, abs=1e-5)
    assert _derived_alike(*trainers)


@pytest.mark.parametrize("method", ["structalign", "replay", "stablefusion", "structalign_released"])
def test_a_recorded_tower_runs_once_a_step(tmp_path: Path, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second run would overwrite the activations that the first one's backward pass needs."""
    calls: list[type] = []

    def watched(tower: nn.Module, sample: tuple[torch.Tensor, ...], allow_unused_input: bool) -> nn.Module:
        tower.register_forward_hook(lambda module, given, result: calls.append(type(module)))
        return tower

    monkeypatch.setattr("torch.cuda.make_graphed_callables", watched)
    trainer = second_task_of(tmp_path, method)
    adamw, pairs = trainer.start(), whole_batch(trainer)
    trainer.record(pairs)
    trainer.step(adamw, 1.0, pairs, 0, 2, 0)
    assert sorted(call.__name__ for call in calls) == ["FrameTower", "TextTower"]


def _derived_alike(one: Trainer, other: Trainer) -> bool:
    """Whether both have gradients at the same parameters, and equal ones."""
    pairs = [(p.grad, q.grad) for p, q in zip(one.model.parameters(), other.model.parameters(), strict=True)]
    return all((a is b) if a is None or b is None else torch.allclose(a, b, atol=1e-5) for a, b in pairs)


def test_a_module_that_counts_or_recomputes_in_its_forward_pass_is_not_recorded() -> None:
    assert recordable(tiny_model())
    shape = ModelConfig(FRAMES, 1, rank=2, alpha=8.0, experts=3, dropout=0.0, etf_dim=20, modules=("moe",))
    assert not recordable(VideoText(tiny_clip(), shape, seed=0))
    model = tiny_model()
    model.clip.recompute = True
    assert not recordable(model)
