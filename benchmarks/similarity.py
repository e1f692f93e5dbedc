"""Word-frame similarity of a training batch, forward and backward, and a block of an evaluation's scores.

Ours: `word_frame`, and `search.scoring.score`, which also finds the best frame. Plain: loops over
pairs, whose unit vectors are made once or, in training also, for each pair anew.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import torch
import typer
from torch import Tensor

from benchmarks import made, plain
from benchmarks.options import OUT, REPEATS, TINY
from benchmarks.timing import compare, keep, show
from structalign.model.device import prepare_device
from structalign.model.video_text import TextEmbeddings
from structalign.search.scoring import score
from structalign.search.signal import Comparison
from structalign.search.similarity import word_frame

TRAINING_GOAL, EVALUATION_GOAL = 18.0, 2.6


def similarity(
    batch: Annotated[int, typer.Option(min=1, help="pairs of a training batch")] = 32,
    queries: Annotated[int, typer.Option(min=1, help="captions of the evaluation block")] = 300,
    videos: Annotated[int, typer.Option(min=1, help="videos of the evaluation block")] = 300,
    frames: Annotated[int, typer.Option(min=1, help="frames of a video")] = 12,
    repeats: REPEATS = 5,
    tiny: TINY = False,
    out: OUT = Path("benchmarks/results"),
) -> None:
    """Similarities of a batch and of an evaluation block."""
    options = dict(locals(), out=str(out))
    device, size = prepare_device(), made.size_of(tiny)
    text, shown = embedded(size, batch, batch, frames, device)
    words, seen = text.words.requires_grad_(), shown.requires_grad_()
    weight = torch.randn(batch, batch, generator=torch.Generator().manual_seed(0)).to(device)

    def ours() -> object:
        words.grad = seen.grad = None
        return (word_frame(words, text.mask, seen) * weight).sum().backward()  # type: ignore[no-untyped-call]

    def theirs(loops: Callable[[Sequence[Tensor], Tensor], Tensor]) -> Callable[[], object]:
        def work() -> object:
            words.grad = seen.grad = None
            found = loops(list_of_words(words, text.mask), seen)
            return (found * weight).sum().backward()  # type: ignore[no-untyped-call]

        return work

    # the released loops make the unit vectors of each pair anew; a plain loop that does not is shown beside
    kinds = {"units made by pair": plain.word_frame_by_pair, "units made once": plain.word_frame}
    rows = [
        compare(f"B = {batch} with backward, {name}", ours, theirs(loops), TRAINING_GOAL, repeats, device)
        for name, loops in kinds.items()
    ]
    asked, stored = embedded(size, queries, videos, frames, torch.device("cpu"))
    spoken = list_of_words(asked.words, asked.mask)
    rows.append(
        compare(
            f"evaluation, {queries} x {videos} x {frames}",
            lambda: score(Comparison(asked, asked, stored), {}),
            lambda: (plain.word_frame(spoken, stored), plain.sentence_video(asked.sentence, stored)),
            EVALUATION_GOAL,
            repeats,
            device,
        )
    )
    show(rows)
    keep(out, "similarity", device, options, rows)


def embedded(
    size: made.Size, queries: int, videos: int, frames: int, device: torch.device
) -> tuple[TextEmbeddings, Tensor]:
    """Random embeddings of captions as long as MSR-VTT's, and of videos [V, N, D]."""
    tokens, source = made.captions(size, queries), torch.Generator().manual_seed(1)
    words = torch.randn(*tokens.ids.shape, size.dim, generator=source)
    sentence = torch.randn(queries, size.dim, generator=source)
    shown = torch.randn(videos, frames, size.dim, generator=source)
    return TextEmbeddings(words, tokens.word_mask(), sentence).to(device), shown.to(device)


def list_of_words(words: Tensor, mask: Tensor) -> list[Tensor]:
    """[R, L, D] -> the words of each caption [L_r, D]."""
    return [row[: int(keep.nonzero()[-1]) + 1][keep.nonzero()[0] :] for row, keep in zip(words, mask, strict=True)]
