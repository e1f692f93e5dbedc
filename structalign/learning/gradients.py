"""Gradients of losses on a batch's embeddings: what a loss asks of words, sentences and frames.

The head into ETF space is left out, so this is what a loss can change in retrieval. A backward pass through the losses
is enough: the towers are not visited.
"""

import torch
from torch import Tensor

from structalign.learning.context import Batch
from structalign.learning.method import CONTRASTIVE

SHARE, ANGLE = "share_", "angle_"  # of the entries of a log row, before the name of an addend


def on_embeddings(batch: Batch, loss: Tensor) -> Tensor:
    """The gradient of `loss` on all words, sentences and frames of the batch, as one vector."""
    embeddings = (batch.text.words, batch.text.sentence, batch.frames)
    learned = [x for x in embeddings if x.requires_grad]
    found = torch.autograd.grad(loss, learned, retain_graph=True, allow_unused=True, materialize_grads=True)
    # a sentence is a column of `words` that the mask leaves out, and it would count twice
    parts = [
        gradient * batch.text.mask[..., None] if x is batch.text.words else gradient
        for x, gradient in zip(learned, found, strict=True)
    ]
    return torch.cat([part.flatten() for part in parts])


def shares_and_angles(batch: Batch) -> dict[str, Tensor]:
    """Each addend's share of the sum of the gradients' norms, and its angle to L_con's gradient in degrees.

    Empty for a batch with one addend.
    """
    if len(batch.addends) < 2:
        return {}
    each = {name: on_embeddings(batch, loss) for name, loss in batch.addends.items()}
    norms = {name: gradient.norm() for name, gradient in each.items()}
    total, first = torch.stack([*norms.values()]).sum(), each[CONTRASTIVE.name]
    shares = {SHARE + name: norm / total for name, norm in norms.items()}
    cosines = {name: torch.cosine_similarity(gradient, first, dim=0) for name, gradient in each.items()}
    del cosines[CONTRASTIVE.name]
    return shares | {ANGLE + name: cosine.clamp(-1, 1).arccos().rad2deg() for name, cosine in cosines.items()}
