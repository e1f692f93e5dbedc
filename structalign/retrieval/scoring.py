"""Videos into a gallery, and every query of a split against all galleries up to a task.

Letters: Q queries, V videos, N frames, L words, D embedding.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from structalign.console import track
from structalign.model.backbone import Clip, Tokens
from structalign.model.checkpoint import Config
from structalign.model.features import Videos
from structalign.model.video_text import VideoText, encode_frozen, encode_queries
from structalign.retrieval.comparison import COMPARISONS
from structalign.retrieval.gallery import Gallery, score, side_by_side
from structalign.retrieval.probing import caption_vectors


def embed_videos(model: VideoText, videos: Videos, device: torch.device, label: str) -> Tensor:
    """[V, N, D] raw frame embeddings, one video at a time: a video's numbers do not depend on the others."""
    return torch.cat([
        model.encode_frames(videos.states(i).to(device)[None]).cpu() for i in track(range(len(videos)), label)
    ])  # fmt: skip


def score_galleries(
    clip: Clip,
    model: VideoText | None,
    config: Config,
    tokens: Tokens,
    owners: Sequence[str],
    galleries: Sequence[Gallery],
    device: torch.device,
    label: str,
) -> tuple[dict[str, Tensor], Tensor]:
    """The matrices [Q, V] of a split, and the captions' vectors [Q, D] as probing takes them.

    Each gallery's columns are scored by queries encoded as its task; `frozen_…` are frozen CLIP's. A caption's vector
    is encoded as the task of `owners` [Q], which brought its video.
    """
    frozen = encode_frozen(clip, model, tokens, device)
    text, comparison = frozen, COMPARISONS[config.comparison]
    blocks, frozen_blocks = list[dict[str, Tensor]](), list[dict[str, Tensor]]()
    captions = torch.empty(len(owners), clip.embedding_dim)
    for part in track(galleries, label):
        if model is not None and (model.routed or text is frozen):
            text = encode_queries(model, tokens, config.tasks.index(part.task) + 1, device)
        blocks.append(score(text, part.frames, comparison, model))
        frozen_blocks.append(score(frozen, part.frozen))
        own = torch.tensor([owner == part.task for owner in owners])
        captions[own] = caption_vectors(text[own], comparison.words)
    method, zero_shot = side_by_side(blocks), side_by_side(frozen_blocks)
    shown = [(len(row["times"]) - part.frames.shape[1]) // 2 for part in galleries for row in part.rows]
    return method | {
        "frozen_words": zero_shot["words"],
        "frozen_sentence": zero_shot["sentence"],
        # a video stored as one vector is shown by its middle frame
        "best_frame": (method["best_frame"] + torch.tensor(shown)).to(torch.uint8),
    }, captions
