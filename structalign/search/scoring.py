"""Score captions against stored videos: the matrices of all signals, which are then fused.

Evaluation, search and the stage `joint` use this. Matrices are named `method.<signal>` and `zero_shot.<signal>` by the
encoder of captions and videos, or `<signal>` if all encoders share it. `best_frame` is the method's.
Letters: Q queries, R captions of a block, V videos, M stored vectors of a video, D embedding.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from structalign.console import track
from structalign.model.backbone import Tokens
from structalign.model.video_text import TextEmbeddings
from structalign.search.encoder import Encoder
from structalign.search.index import Gallery
from structalign.search.signal import Comparison, signals
from structalign.search.similarity import best_frame, caption_vectors

# one tile: with captions of 32 tokens, its word-frame cosines take 64 MiB of float32
QUERIES = 64
VECTORS = 8192  # stored vectors of videos
PAIRS = 4096  # captions times tasks whose embeddings are held: 256 MiB with 32 words of 512 numbers

Matrices = dict[str, Tensor]


def score(comparison: Comparison, states: Mapping[str, Any], shared: bool = True) -> Matrices:
    """The matrices [R, V] of all signals by name, and `best_frame`. Shared signals are only included if `shared`.

    All tiles have one size. So a caption's scores are bit-identical among any multiple of QUERIES captions.
    """
    rows = [
        side_by_side([_tile(tile, states, shared) for tile in tiles]) for tiles in comparison.tiles(QUERIES, VECTORS)
    ]
    return one_below_the_other(rows)


def _tile(tile: Comparison, states: Mapping[str, Any], shared: bool) -> Matrices:
    found = {
        name: signal.score(tile, states.get(name))
        for name, signal in signals().items()
        if not signal.shared or (shared and states.get(name) is not None)
    }
    matrices = {name: matrix for name, matrix in found.items() if matrix is not None}
    return matrices | {"best_frame": best_frame(tile.best_words).to(torch.uint8)}


def score_galleries(
    encoder: Encoder, tokens: Tokens, galleries: Sequence[Gallery], states: Mapping[str, Any]
) -> Iterator[tuple[Gallery, TextEmbeddings, Matrices]]:
    """For each gallery: the captions encoded as its task, and the named matrices of its columns."""
    zero_shot = encoder.zero_shot(tokens)
    texts = encoder.as_each(tokens, [gallery.encoded_as for gallery in galleries], zero_shot)
    for gallery, text in zip(galleries, texts, strict=True):
        number = gallery.number
        own = score(Comparison(text, zero_shot, gallery.frames, encoder.head, encoder.model, number), states)
        plain = score(Comparison(zero_shot, zero_shot, gallery.zero_shot, number=number), states, shared=False)
        plain.pop("best_frame")
        yield gallery, text, _named(own, gallery) | {f"zero_shot.{name}": matrix for name, matrix in plain.items()}


def _named(found: Matrices, gallery: Gallery) -> Matrices:
    """The method's matrices with their stored names. For a video stored as one vector, the middle frame is shown."""
    shared = [name for name, signal in signals().items() if signal.shared]
    middle = [(len(row["times"]) - gallery.frames.shape[1]) // 2 for row in gallery.rows]
    shown = found.pop("best_frame") + torch.tensor(middle, dtype=torch.uint8)
    return {name if name in shared else f"method.{name}": x for name, x in found.items()} | {"best_frame": shown}


def side_by_side(blocks: Sequence[Matrices]) -> Matrices:
    """Join blocks of columns by name: [R, V_p] each -> [R, V]."""
    return {name: torch.cat([block[name] for block in blocks], dim=1) for name in blocks[0]}


def one_below_the_other(blocks: Sequence[Matrices]) -> Matrices:
    """Join blocks of rows by name: [R_b, V] each -> [R, V]."""
    return {name: torch.cat([block[name] for block in blocks]) for name in blocks[0]}


def score_queries(
    encoder: Encoder, tokens: Tokens, galleries: Sequence[Gallery], states: Mapping[str, Any], label: str
) -> Matrices:
    """The named matrices [Q, V] of all galleries' videos, side by side."""
    ((matrices, _),) = score_in_blocks(encoder, tokens, None, galleries, states, label, len(tokens.eot))
    return matrices


def score_in_blocks(
    encoder: Encoder,
    tokens: Tokens,
    own_task: Sequence[str] | None,
    galleries: Sequence[Gallery],
    states: Mapping[str, Any],
    label: str,
    at_once: int,
) -> Iterator[tuple[Matrices, Tensor]]:
    """`score_queries` for R = `at_once` captions at a time, and each caption's vector [R, D] for the geometry.

    The numbers equal those of all captions at once. A caption's vector is encoded as its video's task `own_task` [Q].
    It is 0 without a task, or if that task has no gallery.
    """
    step = queries_in_hand(len(galleries), at_once)
    count = len(tokens.eot)
    for start in range(0, count, at_once):
        blocks, vectors = [], []
        stop = min(start + at_once, count)
        for first in track(range(start, stop, step), label if start == 0 else f"{label}, from query {start}"):
            here = slice(first, min(first + step, stop))
            some = Tokens(
                tokens.ids[here], tokens.eot[here]
            )  # as wide as all captions, since equal shapes give equal bits
            own, columns = torch.zeros(len(some.eot), encoder.clip.embedding_dim), []
            for gallery, text, matrices in score_galleries(encoder, some, galleries, states):
                if own_task is not None:
                    rows = torch.tensor([task == gallery.task for task in own_task[here]])
                    own[rows] = caption_vectors(text[rows], encoder.head.words)
                columns.append(matrices)
            blocks.append(side_by_side(columns))
            vectors.append(own)
        yield one_below_the_other(blocks), torch.cat(vectors)


def queries_in_hand(tasks: int, at_once: int) -> int:
    """The number of captions to encode as all tasks at once: a multiple of QUERIES, unless `at_once` is smaller."""
    return min(at_once, max(1, PAIRS // max(1, tasks * QUERIES)) * QUERIES)
