"""What a checkpoint remembers of learned tasks. It is bounded, and the next task carries it forward.

It holds the ETF vertices, which are never computed again. For each learned category it holds the mean and radius of the
text and video embeddings (pseudo-features, method section 5). A method fills only what it needs and can add tensors.

Letters: C categories, D embedding, d ETF space.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

NOTHING = torch.empty(0)


@dataclass(frozen=True)
class Memory:
    """vertices: [capacity, d]; text_mean, video_mean: [C, D]; text_radius, video_radius: [C]; category ids are rows.

    text_count, video_count: [C] samples behind each mean. extra: tensors that only one method uses, by name. Fields
    that a method does not use are empty.
    """

    vertices: Tensor = NOTHING
    text_mean: Tensor = NOTHING
    text_radius: Tensor = NOTHING
    text_count: Tensor = NOTHING
    video_mean: Tensor = NOTHING
    video_radius: Tensor = NOTHING
    video_count: Tensor = NOTHING
    extra: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def learned(self) -> int:
        """Number of categories learned so far."""
        return len(self.text_mean)

    def tensors(self) -> dict[str, Tensor]:
        """All tensors that are not empty, by name."""
        held = {name: value for name, value in vars(self).items() if name != "extra"} | dict(self.extra)
        return {name: tensor.contiguous() for name, tensor in held.items() if tensor.numel()}

    def with_extra(self, **tensors: Tensor) -> "Memory":
        """A copy with these tensors in `extra`. They replace tensors of the same names."""
        return replace(self, extra={**self.extra, **tensors})


def memory_of(tensors: Mapping[str, Tensor]) -> Memory:
    """The memory with these tensors by name, as `Memory.tensors` gives them."""
    own = {name: tensor for name, tensor in tensors.items() if name in vars(Memory())}
    return Memory(**own, extra={name: tensor for name, tensor in tensors.items() if name not in own})


def empty_memory(vertices: Tensor, dim: int) -> Memory:
    """A memory without categories."""
    mean, radius, count = torch.empty(0, dim), torch.empty(0), torch.empty(0, dtype=torch.int64)
    return Memory(vertices, mean, radius, count, mean, radius, count)


def prototype(samples: Tensor) -> tuple[Tensor, Tensor]:
    """Mean [D] and radius sqrt(tr Cov / D) (ddof 1, float64) of unit vectors [n, D]. One sample has radius 0."""
    points = samples.double()
    if len(points) < 2:
        return points.mean(dim=0).float(), torch.zeros(())
    return points.mean(dim=0).float(), points.var(dim=0, correction=1).mean().sqrt().float()


def remember(
    memory: Memory, text: Tensor, text_category: Tensor, video: Tensor, video_category: Tensor, count: int
) -> Memory:
    """Append the prototypes of the `count` categories that follow the learned ones.

    text: [captions, D] raw mean words; video: [videos, D] raw mean frames of distinct videos, both normalised here.
    """
    new = range(memory.learned, memory.learned + count)
    sides = {"text": _prototypes(text, text_category, new), "video": _prototypes(video, video_category, new)}
    found = {f"{side}_{part}": value for side, parts in sides.items() for part, value in parts.items()}
    joined: dict[str, Any] = {name: torch.cat([getattr(memory, name), value]) for name, value in found.items()}
    return replace(memory, **joined)


def _prototypes(samples: Tensor, category: Tensor, new: range) -> dict[str, Tensor]:
    """For each category in `new`: `mean` [C, D], `radius` [C] and number of samples `count` [C]."""
    mean, radius = zip(*(prototype(F.normalize(samples[category == c], dim=-1)) for c in new), strict=True)
    count = torch.bincount(category, minlength=new.stop)[new.start : new.stop]
    return {"mean": torch.stack(mean), "radius": torch.stack(radius), "count": count}


POOLED_FREEDOM = 4  # degrees of freedom of the pooled radius: as much weight as a category of five samples


def shrunk(radius: Tensor, count: Tensor) -> Tensor:
    """Radii [C] shrunk towards the pooled one (Smyth, 2004). The fewer samples `count` [C], the more they shrink.

    r'^2 = (m r_pool^2 + (n - 1) r^2) / (m + n - 1), r_pool^2 = sum (n - 1) r^2 / sum (n - 1), m = `POOLED_FREEDOM`.
    """
    freedom, square = (count - 1).double(), radius.double() ** 2
    pooled = (freedom * square).sum() / freedom.sum().clamp(min=1)
    return ((POOLED_FREEDOM * pooled + freedom * square) / (POOLED_FREEDOM + freedom)).sqrt().float()


def draw_pseudo(
    memory: Memory, count: int, source: torch.Generator, covariance: str = "radius"
) -> tuple[Tensor, Tensor, Tensor]:
    """`count` pseudo pairs: text [count, D], video [count, D], category [count].

    Categories are drawn uniformly. A feature is mean + radius * N(0, I), with independent noise for text and video.
    covariance: `radius` for each category's own radius, or `shrunk`.
    """
    text_radius, video_radius = memory.text_radius, memory.video_radius
    if covariance == "shrunk":
        text_radius, video_radius = shrunk(text_radius, memory.text_count), shrunk(video_radius, memory.video_count)
    category = torch.randint(memory.learned, (count,), generator=source)
    shape = (count, memory.text_mean.shape[1])
    text = memory.text_mean[category] + text_radius[category, None] * torch.randn(shape, generator=source)
    video = memory.video_mean[category] + video_radius[category, None] * torch.randn(shape, generator=source)
    return text, video, category
