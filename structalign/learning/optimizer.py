"""The optimizer of a task: parameter groups, learning rates and schedule (method, section 6)."""

import math

import torch

from structalign.model.video_text import VideoText
from structalign.params.optim import Phase, Shared

DECAYED = ("lora", "router", "experts", "routers")


def schedule(step: int, steps: int, warmup: float) -> float:
    """Factor on the learning rate: linear warm-up over `warmup` of all steps, then half a cosine to zero."""
    rising = int(warmup * steps)
    if step < rising:
        return step / rising
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / (steps - rising)))


def optimizer(
    model: VideoText, trains: tuple[str, ...], task: int, shared: Shared, phase: Phase
) -> torch.optim.Optimizer:
    """A new AdamW over those parameters of the groups `trains` that learn in this task (method, section 6).

    `VideoText.learning` says which parameters learn. Weight decay acts only on LoRA, expert and router matrices. All
    others start at the identity, at CLIP's weights, or at or near zero. Every trainable parameter is in exactly one
    group.
    """
    groups = model.learning(task)
    rate = {
        "alpha": phase.alpha_lr,
        "task_prototypes": phase.alpha_lr,
        "head": phase.head_lr,
        "tower": phase.tower_lr,
    }
    chosen = [
        {
            "name": name,
            "params": groups[name],
            "initial_lr": rate.get(name, phase.lr),
            "weight_decay": shared.weight_decay if name in DECAYED else 0.0,
        }
        for name in trains
        if groups[name]
    ]
    model.requires_grad_(False)
    for group in chosen:
        for parameter in group["params"]:  # type: ignore[attr-defined]
            parameter.requires_grad_(True)
    # on a GPU one kernel launch for many parameters; an expert without a gradient still does not move
    fused = next(model.parameters()).is_cuda or None
    return torch.optim.AdamW(chosen, lr=phase.lr, betas=(0.9, 0.999), eps=1e-6, fused=fused)
