"""Captions encoded as each of several tasks.

Ours: `encode_as_tasks`, pairs of captions and tasks in one pass, the same numbers whatever the other pairs are.
Plain: a pass for words and one for sentences, 32 captions in their order, padded to the longest. Both in float32.
"""

from pathlib import Path
from typing import Annotated

import torch
import typer

from benchmarks import made, plain
from benchmarks.options import OUT, REPEATS, TINY
from benchmarks.timing import compare, keep, show
from structalign.model.device import prepare_device
from structalign.model.text_encoding import encode_as_tasks

GOAL, STRETCH = 2.0, 4.0


def queries(
    captions: Annotated[int, typer.Option(min=1, help="captions, 6 to 30 tokens each")] = 512,
    prototypes: Annotated[int, typer.Option(min=1, help="tasks that each caption is encoded as")] = 10,
    repeats: REPEATS = 3,
    tiny: TINY = False,
    out: OUT = Path("benchmarks/results"),
) -> None:
    """Captions encoded as every task."""
    options = dict(locals(), out=str(out))
    device, size = prepare_device(), made.size_of(tiny)
    clip = made.random_clip(size)
    acts = made.settings(size, prototypes, 32, "fp32")
    model, _ = made.model_for(clip, size, "structalign", acts, prototypes, 12)
    model.to(device)
    tokens, tasks = made.captions(size, captions), range(1, prototypes + 1)
    weights, plan = plain.weights_of(model), made.plan_of(model, size)
    ids, eot = tokens.ids.to(device), tokens.eot.to(device)
    row = compare(
        f"{captions} captions as {prototypes} tasks",
        lambda: encode_as_tasks(model, tokens, tasks, device),
        lambda: plain.encode_captions(weights, plan, ids, eot, tasks),
        GOAL,
        repeats,
        device,
        warm=False,
        stretch=STRETCH,
        mean_tokens=round(float(torch.mean(tokens.eot + 1.0)), 2),
    )
    show([row])
    keep(out, "queries", device, options, [row])
