"""The vertices of a task's categories in ETF space, by `etf.vertices`."""

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from structalign.learning.context import TaskContext
from structalign.learning.etf import gaussian_vertices, grow, simplex_etf
from structalign.learning.memory import Memory
from structalign.learning.vocabulary import vocabulary
from structalign.model.text_encoding import encode_zero_shot
from structalign.params.losses import Etf


def initial_vertices(etf: Etf) -> Tensor:
    """[C, d], before the first task. Those that grow along prototypes begin as a random simplex."""
    make = gaussian_vertices if etf.vertices == "gaussian" else simplex_etf
    return make(etf.dim, etf.room, etf.seed)


@torch.no_grad()
def grown_vertices(task: TaskContext) -> Memory:
    """The task's memory, with `etf.vertices: prototypes` with vertices of its categories along their prototypes.

    Vertices of earlier categories stay, so the simplex grows with the collection.
    """
    etf = task.settings[Etf]
    if etf.vertices != "prototypes":
        return task.memory
    first, prototypes = int(task.captions.category.min()), task.model.head.text(zero_shot_prototypes(task)).cpu()
    return replace(task.memory, vertices=grow(task.memory.vertices, first, prototypes, etf.seed))


def zero_shot_prototypes(task: TaskContext) -> Tensor:
    """[m, D]: for each new category the mean of its captions by zero-shot CLIP, less that of random captions.

    Random captions stand for text as such. What all captions have in common tells no category from another.
    """
    words = encode_zero_shot(task.model.clip, task.model, vocabulary(task), task.device)
    captions, common = (F.normalize(text.mean_words(), dim=-1) for text in (task.frozen_captions(), words))
    category = task.captions.category
    means = torch.stack([captions[category == one].mean(dim=0) for one in torch.unique(category)])
    return (means - common.mean(dim=0)).to(task.device)
