"""What a task leaves in memory when it has been learned: a row of the methods table names one of these.

All read centre views and the task's own captions, as the model that learned them encodes them.
"""

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import pad

from structalign.learning.memory import Memory, remember
from structalign.learning.task import Task
from structalign.learning.terms import masked_mean
from structalign.model.adapters import generator
from structalign.model.features import CENTRE
from structalign.model.queries import encode_queries

MOST_VIDEOS = 8192  # vectors of past videos that StableFusion keeps, 16 MiB at D = 512: past that, a random choice
PAIRS_PER_CATEGORY = 2  # that replay keeps


def nothing(task: Task, categories: int) -> Memory:
    """What was remembered before."""
    return task.memory


def prototypes(task: Task, categories: int) -> Memory:
    """Mean and radius of each of the task's `categories`, for pseudo-features."""
    text = encode_queries(task.model, task.captions.tokens, task.number, task.device)
    video = task.encode_videos(CENTRE).mean(dim=1)
    first = torch.tensor([int((task.captions.video == v).nonzero()[0, 0]) for v in range(len(task.features))])
    words, category = masked_mean(text.words, text.mask), task.captions.category
    return remember(task.memory, words, category, video, category[first], categories)


def video_vectors(task: Task, categories: int) -> Memory:
    """The training videos' embeddings as retrieval would store them, beside those of the tasks before."""
    new = task.comparison.store(task.encode_videos(CENTRE))[:, 0]
    kept = _joined(task.memory.videos, new)
    if len(kept) > MOST_VIDEOS:
        order = torch.randperm(len(kept), generator=generator("kept videos", task.settings.seed, task.number))
        kept = kept[order[:MOST_VIDEOS].sort().values]
    return replace(task.memory, videos=kept)


def past_pairs(task: Task, categories: int) -> Memory:
    """`PAIRS_PER_CATEGORY` videos of each category, drawn at random, with their states and one caption each."""
    captions, memory = task.captions, task.memory
    order = torch.randperm(len(captions.video), generator=generator("past pairs", task.settings.seed, task.number))
    chosen: list[int] = []
    for category in torch.unique(captions.category).tolist():
        by_video = {int(captions.video[i]): int(i) for i in order if captions.category[i] == category}
        chosen += list(by_video.values())[:PAIRS_PER_CATEGORY]
    rows = torch.tensor(chosen)
    tokens = captions.tokens[rows]
    states = torch.stack([task.features.states(int(v), CENTRE).half() for v in captions.video[rows]])
    length = max(tokens.ids.shape[1], memory.pair_ids.shape[-1])
    end = int(tokens.ids[0, tokens.eot[0]])
    old, new = (
        pad(ids, (0, length - ids.shape[-1]), value=end) if ids.numel() else ids
        for ids in (memory.pair_ids, tokens.ids)
    )
    return replace(
        memory,
        pair_states=_joined(memory.pair_states, states),
        pair_ids=_joined(old, new),
        pair_eot=_joined(memory.pair_eot, tokens.eot),
        pair_task=_joined(memory.pair_task, torch.full((len(rows),), task.number)),
    )


def _joined(old: Tensor, new: Tensor) -> Tensor:
    return torch.cat([old, new]) if old.numel() else new
