"""Training of one task in several processes. Each encodes a share of every batch, and all get the whole batch.

`torchrun` or `accelerate launch` starts them. Embeddings are gathered with their gradients, so losses, batch size and
log do not change. Gradients are averaged, and every process takes the same step.
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
    """Join the other processes if a launcher started several. Yields whether this is the first, which writes files.

    If there are GPUs, each process uses the one of its local rank.
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
    """The rank of this process, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def broadcast(value: T) -> T:
    """The first process's `value`, in every process."""
    if not several():
        return value
    held = [value]
    dist.broadcast_object_list(held)
    return held[0]


def gather_shards(count: int, compute: Callable[[slice], Sequence[Tensor]]) -> list[Tensor]:
    """Compute rows 0 .. count-1, a share in each process. Every process gets all rows [count, ...], with gradients.

    compute: R consecutive rows -> floating-point tensors [R, ...].
    """
    if not several():
        return list(compute(slice(0, count)))
    each = -(-count // dist.get_world_size())
    start, end = process_number() * each, min(count, (process_number() + 1) * each)
    # a process without rows computes the first one, which is cut off again
    part = compute(slice(start, end) if start < end else slice(0, 1))
    return [cast(Tensor, _Gather.apply(_pad_rows(x, each)))[:count] for x in part]  # type: ignore[no-untyped-call]


class _Gather(torch.autograd.Function):
    """[R, ...] of each process -> their concatenation, in every process. The backward pass sums all gradients.

    `torch.distributed.nn.functional.all_gather` is deprecated, with a warning in torch 2.13. Its replacement is private
    and has no name that exists in all versions from 2.6 on.
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
    """Average the gradients of all processes, after the backward pass.

    The gather's backward pass sums the gradients that the processes compute of the same loss. So the mean is right. It
    is right too for modules that every process computes alike, such as the ETF head.
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
    """Sum what the block adds to integer counters over all processes."""
    before = [counter.clone() for counter in counters] if several() else []
    yield
    for counter, start in zip(counters, before, strict=False):
        added = counter - start
        dist.all_reduce(added)
        counter.copy_(start + added)
