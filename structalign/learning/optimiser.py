"""The optimiser of a task: which parameters learn, how fast, and how the rate moves (method, section 6)."""

import math

import torch

from structalign.learning.methods import Method
from structalign.model.video_text import VideoText
from structalign.sections.optim import Phase, Shared


def schedule(step: int, steps: int, warmup: float) -> float:
    """Factor on the learning rate: linear warm-up over `warmup` of all steps, then half a cosine to zero."""
    rising = int(warmup * steps)
    if step < rising:
        return step / rising
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / (steps - rising)))


def optimiser(model: VideoText, method: Method, task: int, shared: Shared, phase: Phase) -> torch.optim.AdamW:
    """A fresh AdamW over what `method` trains in this task (method, section 6).

    In task 1 the mixture is its first expert; later, of the task prototypes only this task's. Decay acts on LoRA and
    router matrices alone: fusion projections start at the identity and everything else at or near zero.
    Every trainable parameter is in exactly one group.
    """
    groups = model.groups()
    if task == 1:
        groups["lora"] = [p for m in model.mixtures() for p in (m.lora_A, m.lora_Bs[0])]
        groups["router"], groups["task_prototypes"] = [], []
    else:
        groups["task_prototypes"] = groups["task_prototypes"][task - 1 :]
    rate = {"alpha": phase.alpha_lr, "task_prototypes": phase.alpha_lr, "head": phase.head_lr}
    chosen = [
        {
            "params": groups[name],
            "initial_lr": rate.get(name, phase.lr),
            "weight_decay": shared.weight_decay if name in ("lora", "router") else 0.0,
        }
        for name in method.trains
        if groups[name]
    ]
    model.requires_grad_(False)
    for group in chosen:
        for parameter in group["params"]:  # type: ignore[attr-defined]
            parameter.requires_grad_(True)
    return torch.optim.AdamW(chosen, lr=phase.lr, betas=(0.9, 0.999), eps=1e-6)
