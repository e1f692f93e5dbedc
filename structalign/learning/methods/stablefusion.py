"""StableFusion: StructAlign's model without its three losses, but with a loss against stored videos of past tasks.

Zhao et al., "Continual Text-to-Video Retrieval with Frame Fusion and Task-Aware Routing" (FrameFusionMoE), SIGIR 2025,
arXiv 2503.10111. It remembers `videos` [M, D], a unit vector per training video.
"""

import torch
from torch import Tensor

from structalign.learning import losses
from structalign.learning.batches import cyclic_rows
from structalign.learning.context import Batch, TaskContext
from structalign.learning.memory import Memory
from structalign.learning.method import Method, Term, contrastive
from structalign.model.adapters import generator
from structalign.model.device import send
from structalign.model.features import CENTRE
from structalign.params.losses import CLIP_SCALE
from structalign.search.similarity_heads import unit_mean

STORED_WEIGHT = 0.6  # w, as published
MOST_VIDEOS = 8192  # stored vectors at most, 16 MiB at D = 512; of more, a random choice is kept


def published_scale(task: TaskContext) -> float:
    """e^4.60."""
    return CLIP_SCALE


def softening(task: TaskContext, batch: Batch, loss: Tensor) -> float:
    """1 in task 1, later 1 - w."""
    return 1.0 if task.number == 1 else 1 - STORED_WEIGHT


def against_stored(task: TaskContext, batch: Batch) -> Tensor:
    """CE of each caption over the batch's videos and one batch of stored videos. Steps take these in turn."""
    stored = task.memory.extra["videos"]
    past = send(stored[cyclic_rows(len(stored), task.settings.shared.batch, batch.step)], task.device)
    candidates = torch.cat([unit_mean(batch.frames)[:, 0], past])[:, None]
    logits = task.logits(batch.text, candidates)[0]
    return losses.caption_to_video(logits, task.video_ids(batch.pairs.video))


def stored_weight(task: TaskContext, batch: Batch, loss: Tensor) -> float:
    """w."""
    return STORED_WEIGHT


def remember_videos(task: TaskContext, categories: int) -> Memory:
    """Add the training videos' embeddings, as retrieval stores them, to those of past tasks."""
    new = task.similarity.store(task.encode_videos(CENTRE))[:, 0]
    kept = torch.cat([task.memory.extra.get("videos", new[:0]), new])
    if len(kept) > MOST_VIDEOS:
        order = torch.randperm(len(kept), generator=generator("kept videos", task.settings.seed, task.number))
        kept = kept[order[:MOST_VIDEOS].sort().values]
    return task.memory.with_extra(videos=kept)


METHOD = Method(
    similarity="raw_mean",
    scale=published_scale,
    terms=(
        Term("contrastive", contrastive, weight=softening),
        Term("stored", against_stored, since=2, weight=stored_weight),
    ),
    update_memory=remember_videos,
)
