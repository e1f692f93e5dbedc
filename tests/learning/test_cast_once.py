"""Frozen weights of the vision tower are cast to bfloat16 once a task, which changes no bit of what is learned."""

from collections import Counter
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import begin_task, finish_task, settings, write_features
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from structalign.errors import UserError
from structalign.learning.resume import LogRow
from structalign.learning.settings import Settings
from structalign.learning.trainer import Trainer
from structalign.model.device import cast_once
from structalign.model.sources import OnlineCrops


def in_bf16(task: int, **values: Any) -> Settings:
    act = settings(task, **values)
    return replace(act, backbone=act.backbone.model_copy(update={"precision": "bf16"}))


def begun(folder: Path, method: str, number: int, views: int) -> Trainer:
    """Task `number` in bf16, before its training."""
    write_features(folder / f"features{number}", first=2 * (number - 1), views=views)
    trainer = begin_task(folder, method, number, in_bf16(number))
    if isinstance(trainer.features, OnlineCrops):
        trainer.features.precision = "bf16"
    return trainer


def second_task(folder: Path, method: str, views: int) -> Trainer:
    """Task 2 before its training, after a first task."""
    finish_task(folder, begun(folder, method, 1, views))
    return begun(folder, method, 2, views)


@pytest.mark.parametrize("views", [2, 0])
@pytest.mark.parametrize("method", ["structalign", "replay", "moe_adapter", "head_only", "clip4clip"])
def test_a_task_learns_the_same_bits(tmp_path: Path, method: str, views: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def cast_at_every_use(weights: Iterable[nn.Parameter], precision: str) -> AbstractContextManager[None]:
        return nullcontext()

    learned: list[tuple[list[LogRow], dict[str, Tensor]]] = []
    for folder in ("once", "every"):
        trainer = second_task(tmp_path / folder, method, views)
        rows: list[LogRow] = []
        trainer.fit(rows.append)
        learned.append((rows, trainer.model.adapter_state() | trainer.remember(2).tensors()))
        monkeypatch.setattr("structalign.learning.context.cast_once", cast_at_every_use)
    (rows, state), (expected_rows, expected) = learned
    assert rows == expected_rows
    assert all(torch.equal(x, expected[name]) for name, x in state.items())


class Casts(TorchDispatchMode):
    """Counts casts to bfloat16 in this thread, by the address that is read."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seen: Counter[int] = Counter()

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        named = kwargs or {}
        if operation is torch.ops.aten._to_copy.default and named.get("dtype") is torch.bfloat16:
            self.seen[args[0].data_ptr()] += 1
        return operation(*args, **named)


@pytest.mark.parametrize("views", [2, 0])
def test_a_frozen_weight_is_cast_once_for_all_steps_of_student_and_teacher(tmp_path: Path, views: int) -> None:
    trainer, steps = second_task(tmp_path, "structalign", views), list[LogRow]()
    with Casts() as casts:
        trainer.fit(steps.append)
    models = [trainer.model, *trainer._online_teachers]
    frozen = {p.data_ptr() for model in models for p in model.clip.vision_products() if not p.requires_grad}
    assert len(steps) > 1
    assert {casts.seen[address] for address in frozen} == {1}


def test_frozen_weights_are_in_float32_again_after_a_task_that_was_stopped(tmp_path: Path) -> None:
    trainer = begin_task(tmp_path, "finetune", 1, in_bf16(1, lr=100, epochs=9))
    expected = [p.detach().clone() for p in trainer.model.backbone_parameters()]
    with pytest.raises(UserError, match="diverged"):
        trainer.fit(lambda row: None)
    found = list(trainer.model.backbone_parameters())
    assert all(p.dtype == x.dtype and torch.equal(p, x) for p, x in zip(found, expected, strict=True))


def test_weights_are_only_cast_for_bf16() -> None:
    layer = nn.Linear(2, 2)
    for precision, dtype in (("bf16", torch.bfloat16), ("tf32", torch.float32), ("fp32", torch.float32)):
        with cast_once(layer.parameters(), precision):
            assert layer.weight.dtype == layer.bias.dtype == dtype
