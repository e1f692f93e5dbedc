"""The scores of a split on disk: the matrices, or their ranks if the matrices are too large.

Letters: Q queries, R captions of a block, V videos, D embedding.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save_file
from torch import Tensor

from structalign.evaluation.ranks import SYSTEMS, rank, write_ranks
from structalign.machine import setting
from structalign.params.ranking import Ranking
from structalign.search.scoring import QUERIES, Matrices
from structalign.search.signal import signals

SCORES_MIB = 1024


def bytes_a_pair() -> int:
    """The bytes per query and video: a float32 score for each signal and system, and a frame's number."""
    return 4 * sum(1 if signal.shared else len(SYSTEMS) for signal in signals().values()) + 1


def queries_at_once(queries: int, videos: int) -> int:
    """The number of queries whose scores fit into STRUCTALIGN_SCORES_MIB: all, or a multiple of QUERIES."""
    limit = setting("STRUCTALIGN_SCORES_MIB", SCORES_MIB, "MiB", 2**20)
    fitting = limit * 2**20 // (bytes_a_pair() * max(1, videos))
    return queries if fitting >= queries else max(1, fitting // QUERIES) * QUERIES


def keep_scores(
    folder: Path,
    split: str,
    blocks: Iterable[tuple[Matrices, Tensor]],
    ground_truth: Sequence[int],
    video_tasks: Sequence[str],
    ranking: Ranking | None,
) -> Tensor:
    """Store the results of `search.scoring.score_in_blocks` and return the captions' vectors [Q, D].

    A single block's matrices are stored unchanged in <split>.safetensors. With `ranking`, only the result of `rank` for
    all blocks is stored, in <split>.ranks.safetensors. ground_truth: [Q] the column of each query's video.
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
        ranks = rank(arrays(), np.array(ground_truth), video_tasks, ranking)
        write_ranks(folder / f"{split}.ranks.safetensors", ranks, ranking)
    return torch.cat(captions)
