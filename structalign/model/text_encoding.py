"""Encode query captions by a model as one of its tasks, or by zero-shot CLIP, independently of other captions.

Letters: R captions, L tokens of a caption, D embedding.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext

import torch
from torch import Tensor

from structalign.model.backbone import Clip, Tokens
from structalign.model.video_text import TextEmbeddings, VideoText

Encoder = Callable[[Tokens, Tensor], TextEmbeddings]
ROWS = 8  # the rows of a pass are a multiple of this, small so that groups of equal length need little padding
GPU_ROWS = 128  # on a GPU, a pass over few rows takes as long as one over many
RELEASED_BATCH = 32


@torch.no_grad()
def encode_captions(model: VideoText, tokens: Tokens, task: int, device: torch.device) -> TextEmbeddings:
    """Encode captions routed as `task`: [R, L, D] on the CPU; see `encode_as_tasks`."""
    return encode_as_tasks(model, tokens, [task], device)[0]


@torch.no_grad()
def encode_as_tasks(
    model: VideoText, tokens: Tokens, tasks: Sequence[int], device: torch.device
) -> list[TextEmbeddings]:
    """Encode captions routed as each of `tasks`: [R, L, D] on the CPU, one after the other.

    A pass holds (caption, task) pairs of one length, of any tasks. A pair's embeddings do not depend on the others, to
    the bit. They do if padding counts as words (`adapters.words`). Then captions are encoded in order, in batches of
    the released code's size, each padded to its longest caption.
    """
    count = len(tokens.eot)

    def encode(rows: Tokens, routed_as: Tensor) -> TextEmbeddings:
        return model.encode_text(rows, routed_as)

    with model.stacked_once():
        if model.config.words == "with_padding":
            return [
                _joined(tokens, [(rows, encode(tokens[rows].to(device), torch.full((len(rows),), task)))
                                 for rows in _in_order(tokens)])
                for task in tasks
            ]  # fmt: skip
        pairs = tokens[torch.arange(count).repeat(len(tasks))]
        one_caption = -(-model.tasks // ROWS)  # as all tasks fills a pass
        rows = ROWS * max(1, one_caption)
        found = _by_length(pairs, encode, torch.tensor(tasks).repeat_interleave(count), device, rows)
    return [found[start : start + count] for start in range(0, len(tasks) * count, count)]


@torch.no_grad()
def encode_zero_shot(clip: Clip, model: VideoText | None, tokens: Tokens, device: torch.device) -> TextEmbeddings:
    """Encode captions with zero-shot CLIP, with or without adapters around it: [R, L, D] on the CPU."""

    def encode(rows: Tokens, routed_as: Tensor) -> TextEmbeddings:
        embeddings = clip.text(rows)
        position = torch.arange(len(rows.eot), device=device)
        return TextEmbeddings(embeddings, rows.word_mask(), embeddings[position, rows.eot])

    with model.frozen() if model is not None else nullcontext():
        return _by_length(tokens, encode, torch.zeros_like(tokens.eot), device, ROWS)


def _in_order(tokens: Tokens) -> Iterator[Tensor]:
    yield from torch.split(torch.arange(len(tokens.eot)), RELEASED_BATCH)


def _by_length(
    tokens: Tokens, encode: Encoder, routed_as: Tensor, device: torch.device, cpu_rows: int
) -> TextEmbeddings:
    """Encode rows in groups of equal token count, a fixed number at a time. Partial groups are padded by repeats.

    So the shapes of a caption's computation depend only on the caption. routed_as: [R] each row's task.
    """
    parts: list[tuple[Tensor, TextEmbeddings]] = []
    rows = cpu_rows if device.type == "cpu" else GPU_ROWS
    for end in torch.unique(tokens.eot).tolist():
        for chunk in (tokens.eot == end).nonzero()[:, 0].split(rows):
            padded = chunk[torch.arange(rows) % len(chunk)]
            parts.append((chunk, encode(tokens[padded].to(device), routed_as[padded])[slice(len(chunk))]))
    return _joined(tokens, parts)


def _joined(tokens: Tokens, encoded: Iterable[tuple[Tensor, TextEmbeddings]]) -> TextEmbeddings:
    """Join the embeddings of groups of rows, padded with zeros: [R, L, D] on the CPU."""
    parts = list(encoded)
    dim = parts[0][1].words.shape[2]
    count, length = tokens.ids.shape
    words, sentence = torch.zeros(count, length, dim), torch.zeros(count, dim)
    mask = torch.zeros(count, length, dtype=torch.bool)
    for chunk, part in parts:
        width = part.words.shape[1]
        words[chunk, :width] = part.words.float().cpu()
        mask[chunk, :width] = part.mask.cpu()
        sentence[chunk] = part.sentence.float().cpu()
    return TextEmbeddings(words, mask, sentence, tokens.word_ids())
