"""What a checkpoint remembers of learned tasks: bounded, carried forward, never a video or caption.

Per learned category: mean and radius of its text and video embeddings (pseudo-features, method section 5), and the
ETF vertices, which are stored and never made again. Letters: C categories, D embedding, d ETF space.
"""

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Memory:
    """vertices: [capacity, d]; text_mean, video_mean: [C, D]; text_radius, video_radius: [C]; category ids are rows."""

    vertices: Tensor
    text_mean: Tensor
    text_radius: Tensor
    video_mean: Tensor
    video_radius: Tensor

    @property
    def learned(self) -> int:
        """Number of categories learned so far."""
        return len(self.text_mean)

    def tensors(self) -> dict[str, Tensor]:
        return {field.name: getattr(self, field.name).contiguous() for field in fields(self)}


def empty_memory(vertices: Tensor, dim: int) -> Memory:
    """A memory of no category yet."""
    return Memory(vertices, torch.empty(0, dim), torch.empty(0), torch.empty(0, dim), torch.empty(0))


def prototype(samples: Tensor) -> tuple[Tensor, Tensor]:
    """Mean [D] and radius sqrt(tr Cov / D) (ddof 1, float64) of unit vectors `samples` [n, D]; one sample: radius 0."""
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
    texts = [prototype(F.normalize(text[text_category == c], dim=-1)) for c in new]
    videos = [prototype(F.normalize(video[video_category == c], dim=-1)) for c in new]
    return replace(
        memory,
        text_mean=torch.cat([memory.text_mean, torch.stack([mean for mean, _ in texts])]),
        text_radius=torch.cat([memory.text_radius, torch.stack([radius for _, radius in texts])]),
        video_mean=torch.cat([memory.video_mean, torch.stack([mean for mean, _ in videos])]),
        video_radius=torch.cat([memory.video_radius, torch.stack([radius for _, radius in videos])]),
    )


def draw_pseudo(memory: Memory, count: int, source: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """`count` pseudo pairs: text [count, D], video [count, D], category [count].

    An old category drawn uniformly, mean + radius * N(0, I), independent noise for text and video.
    """
    category = torch.randint(memory.learned, (count,), generator=source)
    shape = (count, memory.text_mean.shape[1])
    text = memory.text_mean[category] + memory.text_radius[category, None] * torch.randn(shape, generator=source)
    video = memory.video_mean[category] + memory.video_radius[category, None] * torch.randn(shape, generator=source)
    return text, video, category
