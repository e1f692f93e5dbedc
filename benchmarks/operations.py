"""GPU launches and waits in a step of the published setting, counted on the CPU.

Tensors are on a stand-in device (`stand_in`), whose operations are counted and computed on the CPU.

A launch is an ATen operation that is neither a view nor an allocation. An operation on a list of tensors counts once.
Attention counts once in each direction. A wait is a copy to the GPU from memory that is not pinned, a blocking copy
from the GPU, or a read of a tensor's values. The count is a proxy, since some operations are several kernels.

Batch, layers and experts are the published ones. Widths are small and two frames stand for twelve, which changes no
count. Steps are in float32, as published. "Recorded" means that the towers are CUDA graphs.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any
from unittest.mock import patch

import torch
import typer

from benchmarks import made, published
from benchmarks.stand_in import DEVICE, StandIn
from benchmarks.table import machine
from structalign.learning.batches import batches
from structalign.store import write_json

NARROW = replace(made.VIT_B_32, text=(64, 128, 12, 8), vision=(96, 192, 12, 12), vocabulary=512, dim=64, rank=8)
SHAPE = replace(published.PUBLISHED, size=NARROW, frames=2)


def operations(
    tiny: Annotated[bool, typer.Option("--toy", help="a tiny CLIP, to try the command")] = False,
    json: Annotated[Path, typer.Option("--json", help="file for the results")] = Path("operations.json"),
) -> None:
    """Count launches and waits of a training step on a GPU, without a GPU."""
    shape = published.TOY if tiny else SHAPE
    rows = [counted(shape, task, recorded) for task in (1, 2) for recorded in (False, True)]
    for row in rows:
        how = "recorded towers" if row["recorded"] else "operation by operation"
        typer.echo(
            f"task {row['task']}, {how}: {row['launches']} launches, {row['waits']} waits {row['waits_by_kind']}"
        )
    write_json(json, {"machine": machine(), "tiny": tiny, "counts": rows})


def counted(shape: published.Shape, task: int, recorded: bool = False) -> dict[str, Any]:
    """Counts of a task's second step. In the first step the optimizer makes the state of what learns.

    It makes an expert's when a caption first chooses it, so some launches of the second step are for that too.
    """
    torch.manual_seed(0)  # which experts the steps choose
    with StandIn() as device, as_a_gpu(device):
        trainer = published.trainer(shape, task, "fp32", DEVICE)
        adamw = trainer.start()
        for group in adamw.param_groups:
            group["foreach"] = not group["fused"]
        planned = list(batches(trainer.epoch(0), shape.batch))[:2]
        if recorded:
            trainer.record(planned[0])
        for number, pairs in enumerate(planned):
            device.forget()
            trainer.take_step(adamw, 1.0, pairs, 0, task, number)
    launches, waits = device.launches, +device.waits
    return {
        "task": task,
        "recorded": recorded,
        "launches": launches.total(),
        "waits": waits.total(),
        "waits_by_kind": dict(waits),
        "launches_by_kind": dict(launches.most_common()),
    }


@contextmanager
def as_a_gpu(device: StandIn) -> Iterator[None]:
    """Make torch and this project treat the stand-in as a GPU.

    It has asynchronous copies, operations on lists of tensors, a fused optimizer and CUDA graphs.
    """
    with (
        patch("structalign.model.device.ASYNCHRONOUS", ("cuda", DEVICE.type)),
        patch("torch.nn.utils.clip_grad._has_foreach_support", lambda *_: True),
        patch("torch.optim.optimizer._get_fused_kernels_supported_devices", lambda: ["cpu", DEVICE.type]),
        patch("torch.cuda.make_graphed_callables", device.recorded),
    ):
        yield
