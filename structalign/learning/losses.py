"""The losses as pure functions of tensors (method, section 5). They depend on no process rank, device or settings.

Letters: B pairs of a batch, N frames, L words, D embedding, d ETF space, c a pair's category.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def contrastive(logits: Tensor, video: Tensor, adjustment: Tensor | None = None) -> Tensor:
    """L_con = CE(S, diag) + CE(S^T, diag), a sum.

    logits: [B, B] with captions as rows. video: [B] ids. Captions of one video are not negatives of each other.
    adjustment: [B], added to each candidate's logits in both directions (logit adjustment, Menon et al., 2021). A pair
    of a rare category then needs a larger margin.
    """
    masked = logits.masked_fill(same_off_diagonal(video), -torch.inf)
    if adjustment is None:
        return symmetric_cross_entropy(masked)
    target = torch.arange(len(masked), device=masked.device)
    return F.cross_entropy(masked + adjustment, target) + F.cross_entropy(masked.T + adjustment, target)


def same_off_diagonal(ids: Tensor) -> Tensor:
    """[B, B] bool: pairs i != j with equal ids."""
    same = ids[:, None] == ids[None, :]
    return same & ~torch.eye(len(ids), dtype=torch.bool, device=ids.device)


def symmetric_cross_entropy(logits: Tensor) -> Tensor:
    """CE of rows plus CE of columns. The diagonal is the target."""
    target = torch.arange(len(logits), device=logits.device)
    return F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)


def etf_alignment(
    words: Tensor,
    mask: Tensor,
    frames: Tensor,
    vertices: Tensor,
    text_weight: Tensor | None = None,
    video_weight: Tensor | None = None,
) -> Tensor:
    """L_ETF of real pairs = mean_b [2 - cos(w_b, e_c) - cos(f_b, e_c)] with vertex-attended pooling in ETF space.

    words: [B, L, D]; mask: [B, L] bool; frames: [B, N, D]; vertices: [B, d] of the pairs' categories. text_weight and
    video_weight: [d, D] maps into ETF space, or None if words or frames are in ETF space already.
    """
    text = attend(words, vertices, mask, text_weight)
    video = attend(frames, vertices, torch.ones_like(frames[..., 0], dtype=torch.bool), video_weight)
    return vertex_distance(text, video, vertices)


def attend(tokens: Tensor, vertices: Tensor, mask: Tensor, weight: Tensor | None = None) -> Tensor:
    """Sum_l softmax_l(<h(token_l), e_c>) h(token_l), without temperature: [B, L, D] -> [B, d]; 0 without words.

    h is linear with `weight` [d, D], so <h(x), e> = <x, h^T e>. Therefore the sum is mapped, and not each token.
    """
    logits = torch.einsum("bld,bd->bl", tokens, vertices if weight is None else vertices @ weight)
    # a finite floor, since -inf would make NaN values and gradients of a caption without words
    share = logits.masked_fill(~mask, torch.finfo(logits.dtype).min).softmax(dim=1) * mask
    pooled = torch.einsum("bl,bld->bd", share, tokens)
    return pooled if weight is None else F.linear(pooled, weight)


def vertex_distance(text: Tensor, video: Tensor, vertices: Tensor) -> Tensor:
    """mean_b [2 - cos(text_b, e_c) - cos(video_b, e_c)], all [B, d]. It is also the pseudo-feature half of L_ETF."""
    return (2 - F.cosine_similarity(text, vertices) - F.cosine_similarity(video, vertices)).mean()


def relation(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """L_CRP = 1/2 [KL(R || S) + KL(R^T || S^T)] of two [B, B] logit matrices. The teacher gets no gradient."""
    target = teacher.detach()
    return (distil(student, target, temperature) + distil(student.T, target.T, temperature)) / 2


def distil(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T^2 * mean over rows of KL(softmax(teacher / T) || softmax(student / T))."""
    log_student = F.log_softmax(student / temperature, dim=1)
    log_teacher = F.log_softmax(teacher / temperature, dim=1)
    return temperature**2 * F.kl_div(log_student, log_teacher, reduction="batchmean", log_target=True)


def caption_to_video(logits: Tensor, video: Tensor) -> Tensor:
    """CE of [B, B + M] logits with captions as rows. The video of caption i is column i.

    video: [B] ids. Copies of a caption's video among the first B columns are not negatives.
    """
    negatives = F.pad(same_off_diagonal(video), (0, logits.shape[1] - len(video)))
    target = torch.arange(len(logits), device=logits.device)
    return F.cross_entropy(logits.masked_fill(negatives, -torch.inf), target)


def among_negatives(logits: Tensor, negatives: Tensor) -> Tensor:
    """CE of each pair's logit [B] against the logits [B, M] of its negatives."""
    target = torch.zeros(len(logits), dtype=torch.int64, device=logits.device)
    return F.cross_entropy(torch.cat([logits[:, None], negatives], dim=1), target)


def pseudo_contrastive(
    text: Tensor,
    video: Tensor,
    ids: Tensor,
    pseudo_text: Tensor,
    pseudo_video: Tensor,
    category: Tensor,
    mask_same_category: bool,
    mixed: bool,
    scale: float | Tensor,
) -> Tensor:
    """L_pseudo: CE + CE^T of the 2B x 2B matrix of [real; pseudo] texts and videos.

    text, video: [B, D] normalised means of a pair's words and frames. ids: [B] video ids of the real pairs.
    pseudo_text, pseudo_video: [B', D] as drawn, not normalised. category: [B'] of the pseudo pairs.
    mask_same_category: pseudo pairs of one category are not negatives of each other. mixed: only a real and a pseudo
    feature are. The block of real pairs alone would be a second L_con.
    """
    logits = scale * torch.cat([text, pseudo_text]) @ torch.cat([video, pseudo_video]).T
    masked = torch.zeros_like(logits, dtype=torch.bool)
    size = len(text)
    masked[:size, :size] = same_off_diagonal(torch.zeros_like(ids) if mixed else ids)
    if mixed or mask_same_category:
        masked[size:, size:] = same_off_diagonal(torch.zeros_like(category) if mixed else category)
    return symmetric_cross_entropy(logits.masked_fill(masked, -torch.inf))


def relative_weight(weight: float, base: Tensor, loss: Tensor) -> Tensor:
    """lambda = w * sg(L_base / max(L_ETF, 1e-3)). The weighted L_ETF is a fixed share of the base loss."""
    return weight * (base / loss.clamp(min=1e-3)).detach()
