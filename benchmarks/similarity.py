"""Word-frame similarity of a training batch, forward and backward, and a block of an evaluation's scores.

Ours: `word_frame`, and `search.scoring.score`, which also finds the best frame. Plain: a loop over pairs in training,
a loop over captions in evaluation. Both only read each caption's own words. The released code also counts padding as
words, so it is slower than the plain side.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from benchmarks import made, plain
from benchmarks.measuring import Row, in_turn
from structalign.model.video_text import TextEmbeddings
from structalign.search.scoring import score
from structalign.search.signal import Comparison
from structalign.search.similarity import word_frame

REPEATS = 5
FRAMES = 12


def similarity(toy: bool) -> Iterator[Row]:
    """Similarities of a training batch, with their gradient."""
    size, batch = made.size_of(toy), 3 if toy else 32
    text, shown = embedded(size, batch, batch, FRAMES)
    words, seen = text.words.requires_grad_(), shown.requires_grad_()
    weight = torch.randn(batch, batch, generator=torch.Generator().manual_seed(0))

    def learn(found: Tensor) -> None:
        words.grad = seen.grad = None
        (found * weight).sum().backward()  # type: ignore[no-untyped-call]

    ways = {
        "plain": lambda: learn(plain.word_frame_by_pair(list_of_words(words, text.mask), seen)),
        "ours": lambda: learn(word_frame(words, text.mask, seen)),
    }
    yield in_turn(f"similarity, forward and backward, B = {batch}", ways, 1 if toy else REPEATS)


def evaluation(toy: bool) -> Iterator[Row]:
    """A block of scores: words and sentence."""
    size, queries, videos = made.size_of(toy), 4 if toy else 300, 3 if toy else 300
    text, stored = embedded(size, queries, videos, FRAMES)
    spoken = list_of_words(text.words, text.mask)
    ways = {
        "plain": lambda: (plain.word_frame_by_caption(spoken, stored), plain.sentence_video(text.sentence, stored)),
        "ours": lambda: score(Comparison(text, text, stored), {}),
    }
    yield in_turn(f"evaluation block, {queries} × {videos} × {FRAMES}", ways, 1 if toy else REPEATS)


def embedded(size: made.Size, queries: int, videos: int, frames: int) -> tuple[TextEmbeddings, Tensor]:
    """Random embeddings of captions as long as MSR-VTT's, and of videos [V, N, D]."""
    tokens, source = made.captions(size, queries), torch.Generator().manual_seed(1)
    words = torch.randn(*tokens.ids.shape, size.dim, generator=source)
    sentence = torch.randn(queries, size.dim, generator=source)
    text = TextEmbeddings(words, tokens.word_mask(), sentence, tokens.word_ids())
    return text, torch.randn(videos, frames, size.dim, generator=source)


def list_of_words(words: Tensor, mask: Tensor) -> list[Tensor]:
    """[R, L, D] -> the words of each caption [L_r, D]."""
    return [row[: int(keep.nonzero()[-1]) + 1][keep.nonzero()[0] :] for row, keep in zip(words, mask, strict=True)]
