"""Videos into a gallery, and every query of a split against all galleries up to a task.

Letters: Q queries, V videos, N frames, L words, D embedding.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save_file
from torch import Tensor

from structalign.console import track
from structalign.errors import UserError
from structalign.model.backbone import Clip, Tokens
from structalign.model.checkpoint import Config
from structalign.model.features import Videos
from structalign.model.queries import encode_frozen, encode_queries
from structalign.model.video_text import VideoText
from structalign.retrieval.comparison import COMPARISONS
from structalign.retrieval.gallery import QUERIES, Gallery, score, side_by_side
from structalign.retrieval.prior import TaskPrior, of_task
from structalign.retrieval.ranking import rank, write_ranks
from structalign.retrieval.similarity import caption_vectors
from structalign.sections.ranking import Ranking

SCORES_MIB = 1024
BYTES_A_PAIR = 21  # five float32 scores and a frame's number


def embed_videos(model: VideoText, videos: Videos, device: torch.device, label: str) -> Tensor:
    """[V, N, D] raw frame embeddings, one video at a time: a video's numbers do not depend on the others."""
    return torch.cat([
        model.encode_frames(videos.states(i).to(device)[None]).cpu() for i in track(range(len(videos)), label)
    ])  # fmt: skip


def queries_at_once(queries: int, videos: int) -> int:
    """How many queries' scores are held: all, if they fit into STRUCTALIGN_SCORES_MIB, else a multiple of QUERIES."""
    told = os.environ.get("STRUCTALIGN_SCORES_MIB") or str(SCORES_MIB)
    if not told.isdecimal() or int(told) < 1:
        raise UserError(f"STRUCTALIGN_SCORES_MIB={told} is no number of MiB: set it to 1 or more, or unset it.")
    fitting = int(told) * 2**20 // (BYTES_A_PAIR * max(1, videos))
    return queries if fitting >= queries else max(1, fitting // QUERIES) * QUERIES


def score_galleries(
    clip: Clip,
    model: VideoText | None,
    prior: TaskPrior | None,
    config: Config,
    tokens: Tokens,
    owners: Sequence[str],
    galleries: Sequence[Gallery],
    device: torch.device,
    label: str,
    at_once: int,
) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
    """The matrices [R, V] of a split and the captions' vectors [R, D] as probing takes them, of R = `at_once` queries
    at a time; the numbers are those of all at once.

    Each gallery's columns are scored by queries encoded as its task; `frozen_…` are frozen CLIP's, and `task_prior`,
    where there is one, is log p(task of the column | query). A caption's vector is encoded as the task of `owners` [Q],
    which brought its video.
    """
    shown = [(len(row["times"]) - part.frames.shape[1]) // 2 for part in galleries for row in part.rows]
    middle = torch.tensor(shown, dtype=torch.uint8)
    comparison = COMPARISONS[config.comparison]
    for start in range(0, len(owners), at_once):
        here = slice(start, start + at_once)
        asked = Tokens(tokens.ids[here], tokens.eot[here])  # as wide as all captions: equal shapes, equal bits
        text = frozen = encode_frozen(clip, model, asked, device)
        blocks, frozen_blocks = list[dict[str, Tensor]](), list[dict[str, Tensor]]()
        captions = torch.empty(len(asked.eot), clip.embedding_dim)
        log_prior = None if prior is None else prior.log(frozen)
        for part in track(galleries, label if start == 0 else f"{label}, from query {start}"):
            number = config.tasks.index(part.task) + 1
            if model is not None and (model.routed or text is frozen):
                text = encode_queries(model, asked, number, device)
            blocks.append(score(text, part.frames, comparison, model) | of_task(log_prior, number, len(part.rows)))
            frozen_blocks.append(score(frozen, part.frozen))
            own = torch.tensor([owner == part.task for owner in owners[here]])
            captions[own] = caption_vectors(text[own], comparison.words)
        method, zero_shot = side_by_side(blocks), side_by_side(frozen_blocks)
        yield (
            method
            | {
                "frozen_words": zero_shot["words"],
                "frozen_sentence": zero_shot["sentence"],
                # a video stored as one vector is shown by its middle frame
                "best_frame": method["best_frame"] + middle,
            },
            captions,
        )


def keep_scores(
    folder: Path,
    split: str,
    blocks: Iterable[tuple[dict[str, Tensor], Tensor]],
    owner: Sequence[int],
    video_tasks: Sequence[str],
    ranking: Ranking | None,
) -> Tensor:
    """Store what `score_galleries` yields and return the captions' vectors [Q, D].

    The matrices of one block are kept as they are, in <split>.safetensors; with `ranking`, only what
    `retrieval.ranking.rank` finds in all blocks, in <split>.ranks.safetensors. owner: [Q] the column of each query's
    video.
    """
    captions: list[Tensor] = []

    def arrays() -> Iterator[dict[str, NDArray[Any]]]:
        for scores, vectors in blocks:
            captions.append(vectors)
            yield {name: values.numpy() for name, values in scores.items()}

    if ranking is None:
        (whole,) = arrays()
        save_file(whole, folder / f"{split}.safetensors")
    else:
        ranks = rank(arrays(), np.array(owner), video_tasks, ranking)
        write_ranks(folder / f"{split}.ranks.safetensors", ranks, ranking)
    return torch.cat(captions)
