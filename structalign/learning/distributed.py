"""Several processes that learn one task: each encodes a share of every batch, all see the whole.

`torchrun` or `accelerate launch` starts them. The embeddings are gathered with their gradient, so that losses, batch
size and log know nothing of it; gradients are averaged, and every process takes the same step.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F

T = TypeVar("T")


@contextmanager
def processes() -> Iterator[bool]:
    """Join the other processes, where a launcher started several; yields whether this is the first, which writes.

    Each takes the GPU of its number on its machine, if there are GPUs.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or "RANK" not in os.environ:
        yield True
        return
    on_gpu = torch.cuda.is_available() and not os.environ.get("STRUCTALIGN_DEVICE", "cuda").startswith("cpu")
    if on_gpu:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    dist.init_process_group("nccl" if on_gpu else "gloo")
    try:
        yield dist.get_rank() == 0
    finally:
        dist.destroy_process_group()


def several() -> bool:
    """Whether more than one process learns the task."""
    return dist.is_initialized() and dist.get_world_size() > 1


def process_number() -> int:
    """Which of all this process is, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def broadcast(value: T) -> T:
    """The first process's `value`, in all."""
    if not several():
        return value
    held = [value]
    dist.broadcast_object_list(held)
    return held[0]


def gather_shards(count: int, compute: Callable[[slice], Sequence[Tensor]]) -> list[Tensor]:
    """`compute` of the rows 0 .. count-1, each process some of them: tensors [count, ...] with gradient, in all.

    compute: R consecutive rows -> floating-point tensors [R, ...].
    """
    if not several():
        return list(compute(slice(0, count)))
    each = -(-count // dist.get_world_size())
    start, end = process_number() * each, min(count, (process_number() + 1) * each)
    # where there are fewer rows than processes, the first row stands for none: it is cut off again
    part = compute(slice(start, end) if start < end else slice(0, 1))
    return [cast(Tensor, _Gather.apply(_pad_rows(x, each)))[:count] for x in part]  # type: ignore[no-untyped-call]


class _Gather(torch.autograd.Function):
    """[R, ...] of each process -> all of them, one after the other, in each; backward adds up what each derives.

    torch deprecates its own (`torch.distributed.nn.functional.all_gather`, a warning in 2.13); what it names instead is
    private and has no name that all versions from 2.6 on have.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        parts = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, rows)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        dist.all_reduce(total)
        return total.chunk(dist.get_world_size())[process_number()]


def _pad_rows(x: Tensor, rows: int) -> Tensor:
    """[R, ...] -> [rows, ...], zeros at the end."""
    return F.pad(x, [0, 0] * (x.dim() - 1) + [0, rows - len(x)]).contiguous()


def sync_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """After backward: average the gradients of all processes.

    The gather's backward pass adds what every process derives from the same loss, so the mean is right, also for what
    is computed alike in all, as the ETF head.
    """
    if several():
        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        flat /= dist.get_world_size()
        for gradient, mean in zip(gradients, torch.split(flat, [x.numel() for x in gradients]), strict=True):
            gradient.copy_(mean.view_as(gradient))


def any_process(flags: Tensor) -> Tensor:
    """Which of the bool `flags` are true in any of the processes."""
    if not several() or not flags.numel():
        return flags
    found = flags.int()
    dist.all_reduce(found, dist.ReduceOp.MAX)
    return found.bool()


@contextmanager
def all_reduce_counts(counters: Sequence[Tensor]) -> Iterator[None]:
    """What the block adds to integer counters, added up over all processes."""
    before = [counter.clone() for counter in counters] if several() else []
    yield
    for counter, start in zip(counters, before, strict=False):
        added = counter - start
        dist.all_reduce(added)
        counter.copy_(start + added)
