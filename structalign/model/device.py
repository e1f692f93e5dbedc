"""The machine's part: device and threads come from the environment, never from params.yaml."""

import os
from contextlib import AbstractContextManager, nullcontext

import torch

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
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    name = os.environ.get("STRUCTALIGN_DEVICE") or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        # with its number, since "the GPU at hand" is each thread's own matter
        device = torch.empty(1, device=torch.device(name)).device
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"STRUCTALIGN_DEVICE={name} cannot be used here ({reason}): unset it.") from None
    return device


def env_flag(name: str) -> bool:
    """Whether the environment variable `name` is 1; unset and 0 are no."""
    value = os.environ.get(name) or "0"
    if value not in ("0", "1"):
        raise UserError(f"{name}={value} is neither 0 nor 1: set it to one of them, or unset it.")
    return value == "1"


def autocast(device: torch.device, precision: str) -> AbstractContextManager[None]:
    """bfloat16 autocast where `precision` is "bf16", else nothing."""
    if precision == "bf16":
        return torch.autocast(device.type, torch.bfloat16)
    return nullcontext()
