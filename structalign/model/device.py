"""Device and threads, which come from the environment and never from params.yaml."""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from structalign.errors import UserError
from structalign.machine import cores, setting
from structalign.text import shortened


def prepare_device() -> torch.device:
    """Set threads (STRUCTALIGN_THREADS, else half the cores), turn TF32 off, and choose the device.

    The device is STRUCTALIGN_DEVICE, else CUDA if available. Only half the cores are used because every small operation
    ends in a barrier, where one busy core delays all threads. On two shared cores, two threads took up to six times as
    long as one.
    """
    torch.set_num_threads(setting("STRUCTALIGN_THREADS", max(1, cores() // 2), "threads", 1024))
    _allow_tf32(False)
    name = os.environ.get("STRUCTALIGN_DEVICE") or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        # with its number, since the current GPU differs between threads
        device = torch.empty(1, device=torch.device(name)).device
    except (RuntimeError, AssertionError) as error:
        reason = shortened(str(error).splitlines()[0], 200)
        raise UserError(
            f"STRUCTALIGN_DEVICE={shortened(name)} cannot be used here ({reason}): set another device, or unset it."
        ) from None
    return device


ASYNCHRONOUS = ("cuda",)  # devices that copy from and to pinned memory in the background


def send(x: Tensor, device: torch.device) -> Tensor:
    """`x` on the device. The CPU does not wait for the copy."""
    if x.device.type == "cpu" and device.type in ASYNCHRONOUS:
        return x.pin_memory().to(device, non_blocking=True)
    return x.to(device)


def send_bytes(parts: Sequence[Tensor], device: torch.device) -> Tensor:
    """All bytes of uint8 tensors in one row on the device, by one copy. The CPU does not wait for it."""
    background, sizes = device.type in ASYNCHRONOUS, [part.numel() for part in parts]
    row = torch.empty(sum(sizes), dtype=torch.uint8, pin_memory=background)
    for place, part in zip(torch.split(row, sizes), parts, strict=True):
        place.view(part.shape).copy_(part)
    return row.to(device, non_blocking=background)


class Fetched:
    """A tensor that is copied to the CPU in the background. Reading the values waits for the copy."""

    def __init__(self, x: Tensor):
        self._here = x.detach().to("cpu", non_blocking=x.device.type in ASYNCHRONOUS)
        self._arrival = torch.cuda.current_stream(x.device).record_event() if x.device.type == "cuda" else None

    def tolist(self) -> list[Any]:
        if self._arrival is not None:
            self._arrival.synchronize()
        numbers: list[Any] = self._here.tolist()
        return numbers


def env_flag(name: str, default: bool = False) -> bool:
    """Whether the environment variable `name` is 1. 0 is false, and unset is `default`."""
    value = os.environ.get(name) or str(int(default))
    if value not in ("0", "1"):
        raise UserError(f"{name}={shortened(value)} must be 0 or 1: set it to one of them, or unset it.")
    return value == "1"


@contextmanager
def matrix_products(precision: str) -> Iterator[None]:
    """Inside the block a GPU may use TF32 for float32 products, if `precision` is "tf32"."""
    before = torch.backends.cuda.matmul.allow_tf32
    _allow_tf32(precision == "tf32")
    try:
        yield
    finally:
        _allow_tf32(before)


def _allow_tf32(allowed: bool) -> None:
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed


def autocast(device: torch.device, precision: str, cache: bool = True) -> AbstractContextManager[None]:
    """bfloat16 autocast if `precision` is "bf16", else nothing. See `matrix_products` for TF32.

    cache: whether trainable weights are cast once for all uses in the block.
    """
    if precision == "bf16":
        return torch.autocast(device.type, torch.bfloat16, cache_enabled=cache)
    return nullcontext()


@contextmanager
def cast_once(weights: Iterable[nn.Parameter], precision: str) -> Iterator[None]:
    """Inside the block `weights` are bfloat16 if `precision` is "bf16". Afterwards they are what they were.

    Autocast only keeps its cast of a weight that learns. It casts a frozen one again at every use. Matrix products and
    convolutions under autocast give the same bits in the block. Other uses of the weights fail there. Memory of a GPU
    holds only the cast weights; the others wait in the computer's.
    """
    cast = [(p, p.data.cpu()) for p in weights] if precision == "bf16" else []
    for p, _ in cast:
        p.data = p.data.bfloat16()
    try:
        yield
    finally:
        for p, whole in cast:
            p.data = whole.to(p.device)
