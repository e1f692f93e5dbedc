"""The vision suffix in bfloat16 against the machine's rate of bfloat16 matrix products.

A multiplication and an addition are two FLOPs. Each distinct video counts once, and recomputation does not count.

- Forward, of an image with T tokens, width W and inner width M: a suffix layer with fusion takes 2·8TW² (projections
  of self-attention and cross attention) + 2·4T²W (their products) + 4TWM (MLP). The final projection takes 2WD.
- Backward: a frozen matrix takes its forward FLOPs once (the gradient of its input), a trained one twice (also its
  own gradient). Products of attention take theirs twice.
- The first suffix layer needs no gradient of its input. There self-attention takes nothing backward, and the q, k and
  v of cross attention only take the gradients of their weights.
- In the last layer only the class token is a query and continues, so T is 1 except for k and v.
- Norms, softmax and activations do not count.
"""

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import torch
import typer

from benchmarks import made
from benchmarks.table import machine
from structalign.model.device import autocast, prepare_device
from structalign.model.video_text import VideoText
from structalign.store import write_json

SIZES = {"cpu": (512, 1024, 2048), "cuda": (4096, 8192)}  # of the square matrices


def suffix(
    videos: Annotated[int, typer.Option(min=1, help="videos of a batch")] = 4,
    frames: Annotated[int, typer.Option(min=1, help="frames of a video")] = 12,
    repeats: Annotated[int, typer.Option(min=1, help="number of calls; the median is reported")] = 3,
    tiny: Annotated[bool, typer.Option("--toy", help="a tiny CLIP, to try the command")] = False,
    json: Annotated[Path, typer.Option("--json", help="file for the results")] = Path("suffix.json"),
) -> None:
    """The vision suffix's share of this device's bf16 matrix rate, forward, and forward with backward."""
    device, size = prepare_device(), made.size_of(tiny)
    model = learning_model(size, frames).to(device)
    tokens = model.clip.vision_positions
    states = torch.randn(videos, frames, tokens, size.vision[0], generator=torch.Generator().manual_seed(0)).to(device)

    def forward() -> None:
        with torch.no_grad(), autocast(device, "bf16"):
            model.encode_frames(states)

    def both() -> None:
        run_both(model, states, device)

    rate = matrix_rate(device, (64,) if tiny else SIZES[device.type], repeats)
    images, rows = videos * frames, []
    for name, work, backward in (("forward", forward, False), ("forward and backward", both, True)):
        seconds = median_of(work, repeats, device)
        achieved = images * flops(size, backward) / seconds
        share = achieved / rate
        rows.append({"name": name, "seconds": seconds, "tflops": achieved / 1e12, "share": share})
        typer.echo(
            f"suffix, {name}: {achieved / 1e12:.3f} TFLOP/s, {share:.0%} of the matrix rate {rate / 1e12:.3f}, "
            f"{images / seconds:.1f} images/s"
        )
    chip = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    write_json(json, {"machine": machine(), "device": chip, "matrix_tflops": rate / 1e12, "rows": rows})


def median_of(work: Callable[[], None], repeats: int, device: torch.device) -> float:
    """Median seconds of a call, after one warm-up call."""

    def seconds() -> float:
        start = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - start

    seconds()
    return statistics.median(seconds() for _ in range(repeats))


def learning_model(size: made.Size, frames: int) -> VideoText:
    """A model whose fusion is trained, as in a training step."""
    acts = made.settings(size, 1, 2, "bf16")
    model, _ = made.model_for(made.random_clip(size), size, "structalign", acts, 1, frames)
    model.requires_grad_(False)
    for fusion in model.fusions():
        for name, p in fusion.named_parameters():
            p.requires_grad_(not name.startswith("attention."))
    return model


def run_both(model: VideoText, states: torch.Tensor, device: torch.device) -> None:
    """Forward and backward of all frames."""
    for p in model.parameters():
        p.grad = None
    with autocast(device, "bf16"):
        found = model.encode_frames(states)
    found.float().square().mean().backward()  # type: ignore[no-untyped-call]


def flops(size: made.Size, backward: bool) -> int:
    """FLOPs of one image, by the formula above. With `backward`: forward and backward together."""
    tokens = (size.image // size.patch) ** 2 + 1
    last = size.vision[2] - size.frozen - 1
    end = 2 * size.vision[0] * size.dim
    counted = [_layer(size, 1 if layer == last else tokens, first=layer == 0) for layer in range(last + 1)]
    return sum(forward + there * backward for forward, there in counted) + end * (1 + backward)


def _layer(size: made.Size, asking: int, first: bool) -> tuple[int, int]:
    """FLOPs forward and backward of a layer in which `asking` tokens attend to all tokens."""
    width, inner, _, _ = size.vision
    tokens = (size.image // size.patch) ** 2 + 1
    asked, held = 2 * asking * width**2, 2 * tokens * width**2  # one of q and out; one of k and v
    products, mlp = 4 * asking * tokens * width, 4 * asking * width * inner
    own = 0 if first else 2 * asked + 2 * held + 2 * products
    cross = 2 * products + (3 * asked + 2 * held if first else 4 * asked + 4 * held)
    return 4 * asked + 4 * held + 2 * products + mlp, own + cross + mlp


def matrix_rate(device: torch.device, sizes: tuple[int, ...], repeats: int) -> float:
    """FLOP/s of the fastest square bfloat16 matrix product."""
    rates = []
    for n in sizes:
        a, b = (torch.randn(n, n, device=device).bfloat16() for _ in range(2))
        calls = max(1, 2048**3 // n**3)

        def work(a: torch.Tensor = a, b: torch.Tensor = b, calls: int = calls) -> None:
            for _ in range(calls):
                a @ b

        rates.append(calls * 2 * n**3 / median_of(work, max(3, repeats), device))
    return max(rates)
