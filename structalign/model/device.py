"""The machine's part: device and threads come from the environment, never from params.yaml."""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor

from structalign.errors import UserError
from structalign.machine import cores


def prepare_device() -> torch.device:
    """Set the threads (STRUCTALIGN_THREADS, else half the cores), float32 without TF32, and choose the device
    (STRUCTALIGN_DEVICE, else CUDA where there is one).

    Half: every small operation ends in a barrier, and one core that is busy with something else then holds up all
    threads for a scheduler's time slice. On two shared cores two threads took up to six times as long as one.
    """
    threads = os.environ.get("STRUCTALIGN_THREADS") or str(max(1, cores() // 2))
    if not threads.isdecimal() or int(threads) < 1:
        raise UserError(f"STRUCTALIGN_THREADS={threads} is no number of threads: set it to 1 or more, or unset it.")
    torch.set_num_threads(int(threads))
    _allow_tf32(False)
    name = os.environ.get("STRUCTALIGN_DEVICE") or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        # with its number, since "the GPU at hand" is each thread's own matter
        device = torch.empty(1, device=torch.device(name)).device
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"STRUCTALIGN_DEVICE={name} cannot be used here ({reason}): unset it.") from None
    return device


ASYNCHRONOUS = ("cuda",)  # devices that copy from and to pinned memory while the processor goes on


def send(x: Tensor, device: torch.device) -> Tensor:
    """`x` on the device, which may still be at earlier work: the processor does not wait for it."""
    if x.device.type == "cpu" and device.type in ASYNCHRONOUS:
        return x.pin_memory().to(device, non_blocking=True)
    return x.to(device)


class Fetched:
    """A tensor on its way to the processor, which goes on with its own work until it asks for the numbers."""

    def __init__(self, x: Tensor):
        self._here = x.detach().to("cpu", non_blocking=x.device.type in ASYNCHRONOUS)
        self._arrival = torch.cuda.current_stream(x.device).record_event() if x.device.type == "cuda" else None

    def tolist(self) -> list[Any]:
        if self._arrival is not None:
            self._arrival.synchronize()
        numbers: list[Any] = self._here.tolist()
        return numbers


def env_flag(name: str, default: bool = False) -> bool:
    """Whether the environment variable `name` is 1; 0 is no, unset is `default`."""
    value = os.environ.get(name) or str(int(default))
    if value not in ("0", "1"):
        raise UserError(f"{name}={value} is neither 0 nor 1: set it to one of them, or unset it.")
    return value == "1"


@contextmanager
def matrix_products(precision: str) -> Iterator[None]:
    """Inside the block a GPU may round what it multiplies in float32 to TF32, if `precision` is "tf32"."""
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
    """bfloat16 autocast where `precision` is "bf16", else nothing (TF32 is the process's: `matrix_products`).

    cache: whether weights that learn are cast once for all their uses inside.
    """
    if precision == "bf16":
        return torch.autocast(device.type, torch.bfloat16, cache_enabled=cache)
    return nullcontext()
