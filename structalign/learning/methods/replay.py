"""Experience replay with a tiny memory: `finetune` on the batch and as many remembered pairs.

Chaudhry et al., "On Tiny Episodic Memories in Continual Learning", arXiv 1902.10486. It is only a reference, because it
keeps old videos and captions. The setting forbids that.

It remembers M pairs: `pair_states` [M, N, T, W] float16, `pair_ids` [M, L], `pair_eot` [M] and `pair_task` [M], which
counts from 1.
"""

import torch
from torch import Tensor
from torch.nn.functional import pad

from structalign.learning import losses
from structalign.learning.context import Batch, TaskContext
from structalign.learning.memory import Memory
from structalign.learning.method import Method, Term, contrastive
from structalign.model.adapters import generator
from structalign.model.backbone import Tokens
from structalign.model.features import CENTRE

PAIRS_PER_CATEGORY = 2  # kept in memory


def with_past(task: TaskContext, batch: Batch) -> Tensor:
    """L_con on the batch and as many remembered pairs, which are drawn anew at each step.

    Each caption is routed as its own task.
    """
    if task.number == 1:
        return contrastive(task, batch)
    past, pairs = task.memory.extra, batch.pairs
    count = min(len(pairs.video), len(past["pair_task"]))
    rows = torch.randperm(len(past["pair_task"]), generator=generator("past", *batch.key))[:count]
    text = task.embed_text(Tokens(past["pair_ids"], past["pair_eot"])[rows], past["pair_task"][rows])
    frames = task.embed_frames(past["pair_states"][rows].float())
    video = task.video_ids(torch.cat([pairs.video, -1 - rows]))
    logits = task.logits(batch.text.followed_by(text), torch.cat([batch.frames, frames]))
    return task.add_sentence_loss([losses.contrastive(x, video) for x in logits])


def remember_pairs(task: TaskContext, categories: int) -> Memory:
    """`PAIRS_PER_CATEGORY` videos of each category, drawn at random, with their states and one caption each."""
    captions, past = task.captions, task.memory.extra
    order = torch.randperm(len(captions.video), generator=generator("past pairs", task.settings.seed, task.number))
    chosen: list[int] = []
    for category in torch.unique(captions.category).tolist():
        by_video = {int(captions.video[i]): int(i) for i in order if captions.category[i] == category}
        chosen += list(by_video.values())[:PAIRS_PER_CATEGORY]
    rows = torch.tensor(chosen)
    tokens = captions.tokens[rows]
    pairs = {
        "pair_states": torch.stack([task.features.read(int(v), CENTRE).half() for v in captions.video[rows]]),
        "pair_ids": tokens.ids,
        "pair_eot": tokens.eot,
        "pair_task": torch.full((len(rows),), task.number),
    }
    if not past:
        return task.memory.with_extra(**pairs)
    length, end = max(past["pair_ids"].shape[1], tokens.ids.shape[1]), int(tokens.ids[0, tokens.eot[0]])
    ids = [pad(x, (0, length - x.shape[1]), value=end) for x in (past["pair_ids"], tokens.ids)]
    all_pairs = {name: torch.cat([past[name], new]) for name, new in pairs.items() if name != "pair_ids"}
    return task.memory.with_extra(**all_pairs, pair_ids=torch.cat(ids))


METHOD = Method(terms=(Term("contrastive", with_past),), update_memory=remember_pairs)
