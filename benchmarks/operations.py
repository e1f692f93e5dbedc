"""What a GPU would have to launch and wait for in a step of the published setting, counted on the CPU.

Tensors live on a stand-in device (`stand_in`), whose operations are counted and computed on the CPU. A launch is an
operation of ATen that is neither a view nor an allocation; one on a list of tensors counts once, attention once in each
direction. A wait is a copy in from memory that is not pinned, a copy out that is not let run, or a look at numbers. It
is a proxy: some operations are several kernels. Batch, layers and experts are the published ones; widths are small and
two frames stand for twelve, which changes no count. In float32, as published; recorded: with the towers as CUDA graphs.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any
from unittest.mock import patch

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
    json: Annotated[Path, typer.Option("--json", help="file that keeps what was found")] = Path("operations.json"),
) -> None:
    """Launches and waits of a training step on a GPU, counted without one."""
    shape = published.TOY if tiny else SHAPE
    rows = [counted(shape, task, recorded) for task in (1, 2) for recorded in (False, True)]
    for row in rows:
        how = "recorded towers" if row["recorded"] else "operation by operation"
        typer.echo(
            f"task {row['task']}, {how}: {row['launches']} launches, {row['waits']} waits {row['waits_by_kind']}"
        )
    write_json(json, {"machine": machine(), "tiny": tiny, "counts": rows})


def counted(shape: published.Shape, task: int, recorded: bool = False) -> dict[str, Any]:
    """The second step of a task: in the first the optimizer makes its state."""
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
    """Torch and this project take the stand-in for a device that copies by itself, works on lists of tensors, has a
    fused optimizer, and records."""
    with (
        patch("structalign.model.device.ASYNCHRONOUS", ("cuda", DEVICE.type)),
        patch("torch.nn.utils.clip_grad._has_foreach_support", lambda *_: True),
        patch("torch.optim.optimizer._get_fused_kernels_supported_devices", lambda: ["cpu", DEVICE.type]),
        patch("torch.cuda.make_graphed_callables", device.recorded),
    ):
        yield
