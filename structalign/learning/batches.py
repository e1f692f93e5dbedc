"""The pairs of each batch. An epoch visits every video or every caption once, in a seeded random order.

Letters: B pairs of a batch, R captions, V videos.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from structalign.model.adapters import generator
from structalign.model.features import Captions


@dataclass(frozen=True)
class Pairs:
    """A batch. caption: [B] rows of the split's captions; video: [B] rows of its videos; view: [B] view numbers."""

    caption: Tensor
    video: Tensor
    view: Tensor


def epoch_pairs(captions: Captions, videos: int, views: int, how: str, *key: str | int) -> Pairs:
    """One epoch in random order: every video once with a random caption, or every caption once.

    `key` ends with the epoch e. Video v uses view (e + v) mod views. If `views` is 0, each visit gets a new view
    (`visits`).
    """
    source = generator("pairs", *key)
    if how == "captions":
        caption = torch.randperm(len(captions.video), generator=source)
    else:
        chosen = [
            members[int(torch.randint(len(members), (), generator=source))]
            for v in range(videos)
            if len(members := (captions.video == v).nonzero()[:, 0])
        ]
        caption = torch.stack(chosen)[torch.randperm(len(chosen), generator=source)]
    video, epoch = captions.video[caption], int(key[-1])
    return Pairs(caption, video, (epoch + video) % views if views else visits(epoch, len(video)))


def visits(epoch: int, pairs: int) -> Tensor:
    """[pairs] numbers that are unique over all epochs, so that each visit gets a new crop."""
    return epoch * pairs + torch.arange(pairs)


def balanced(pairs: Pairs, captions: Captions, views: int, *key: str | int) -> Pairs:
    """As many pairs as `pairs`, with each of their categories equally often (± 1), in random order.

    Pairs of small categories are repeated, each time with the video's next view and a new random caption. `key` ends
    with the epoch.
    """
    source = generator("balanced", *key)
    category = captions.category[pairs.caption]
    members = [(category == c).nonzero()[:, 0] for c in torch.unique(category)]
    total = len(category)
    each = torch.arange(-(-total // len(members)))
    chosen = torch.stack([own[each % len(own)] for own in members], dim=1).flatten()[:total]
    turn = torch.stack([each // len(own) for own in members], dim=1).flatten()[:total]
    caption = pairs.caption[chosen]
    for row in turn.nonzero()[:, 0].tolist():
        own = (captions.video == pairs.video[chosen[row]]).nonzero()[:, 0]
        caption[row] = own[int(torch.randint(len(own), (), generator=source))]
    order = torch.randperm(total, generator=source)
    view = (pairs.view[chosen] + turn) % views if views else visits(int(key[-1]), total)
    return Pairs(caption[order], pairs.video[chosen][order], view[order])


def batches(pairs: Pairs, size: int) -> Iterator[Pairs]:
    """Consecutive batches; the last partial one is kept if it has at least two pairs."""
    for start in range(0, len(pairs.caption), size):
        part = slice(start, start + size)
        if len(pairs.caption[part]) >= 2:
            yield Pairs(pairs.caption[part], pairs.video[part], pairs.view[part])


def cyclic_rows(count: int, size: int, step: int) -> Tensor:
    """[min(size, count)] consecutive rows of `count` for a step. After the last row comes row 0 again."""
    return (step * size + torch.arange(min(size, count))) % count
