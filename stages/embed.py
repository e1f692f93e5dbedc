"""Store a task's videos once, encoded by the model after this task, and score all seen queries against all videos.

Training videos are stored separately, only for search. No evaluation uses them.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from structalign.console import command
from structalign.evaluation.geometry_dump import dump_geometry
from structalign.evaluation.retrieval import Asked, asked
from structalign.evaluation.score_files import keep_scores, queries_at_once
from structalign.model.backbone import Tokeniser
from structalign.model.checkpoint import fingerprint, load_memory, read_config
from structalign.model.device import prepare_device
from structalign.model.features import read_captions
from structalign.params.ranking import Ranking
from structalign.params.reading import read
from structalign.paths import (
    BACKBONE,
    CHECKPOINTS,
    COLLECTION,
    FEATURES,
    GALLERIES,
    GEOMETRY,
    SCORES,
    index_of,
)
from structalign.search import familiarity
from structalign.search.encoder import Encoder, load_encoder
from structalign.search.index import Gallery, Index, write_gallery, write_index, write_signals
from structalign.search.scoring import score_in_blocks
from structalign.search.signal import observe
from structalign.search.storing import store_split
from structalign.store import digest, whole_folder, write_json

SPLITS = ("val", "test")


@torch.inference_mode()
def main(task: str, prev: str) -> None:
    """Write the gallery, collection, index, scores and geometry of TASK in work/. PREV is the previous task."""
    config = read_config(CHECKPOINTS / task)
    encoder = load_encoder(CHECKPOINTS / task, config, BACKBONE, prepare_device())
    stored_bytes = store(encoder, task, prev, config.tasks.index(task) + 1)
    score_seen(encoder, task, {"trained_parameters": config.trained_parameters, "stored_bytes_per_video": stored_bytes})


def store(encoder: Encoder, task: str, prev: str, number: int) -> int:
    """Store the videos of task `number` (from 1), and the statistics of its training captions.

    Training clips are stored separately. Returns the bytes of a stored video.
    """
    captions = read_captions(FEATURES / task / "train")
    known, checkpoint = encoder.zero_shot(captions.tokens), fingerprint(CHECKPOINTS / task)
    with whole_folder(GALLERIES / task) as folder:
        stored_bytes = [store_videos(encoder, task, split, folder) for split in SPLITS][-1]
        write_signals(folder, observe(known, captions.category, number))
    with whole_folder(COLLECTION / task) as folder:
        store_videos(encoder, task, "train", folder)
        save_file(familiarity.observe(known, captions.video), folder / "captions.safetensors")
        hashes = {file.name: digest(file) for file in sorted(folder.iterdir())}
        write_json(folder / "index.json", {"encoder": checkpoint, "files": hashes})
    write_index(index_of(task), index_of(prev), task, GALLERIES / task, checkpoint)
    return stored_bytes


def score_seen(encoder: Encoder, task: str, sizes: dict[str, int]) -> None:
    """Score all queries up to TASK against all stored videos, and store the geometry and the `sizes`."""
    opened, measures = Index(index_of(task)), dict[str, Any]()
    vertices = load_memory(CHECKPOINTS / task).get("vertices")
    with whole_folder(SCORES / task) as folder, whole_folder(GEOMETRY / task) as geometry:
        for split in SPLITS:
            galleries = opened.galleries(split)
            question = asked(task, split, galleries)
            queries = question.queries
            write_json(folder / f"{split}.json", {"task": task, "queries": queries, "videos": question.videos})
            if not queries:
                continue
            vectors = score_split(encoder, galleries, opened.states, question, folder)
            category = [query["category"] for query in queries]
            measures[split] = dump_geometry(geometry, split, vectors, category, galleries, encoder.model, vertices)
        write_json(geometry / "collapse.json", measures)
        write_json(folder / "sizes.json", sizes)


def store_videos(encoder: Encoder, task: str, split: str, folder: Path) -> int:
    """Write the gallery of a split. Returns the bytes of a stored video."""
    rows, frames, zero_shot = store_split(encoder, task, split)
    write_gallery(folder, split, rows, frames, zero_shot)
    return frames.shape[1] * frames.shape[2] * frames.element_size()


def score_split(
    encoder: Encoder, galleries: Sequence[Gallery], states: Mapping[str, Any], question: Asked, folder: Path
) -> torch.Tensor:
    """Store the scores of a split's queries in `folder`. Returns the captions' vectors [Q, D]."""
    label, tokeniser = f"score {galleries[-1].task} {question.split}", Tokeniser(BACKBONE)
    tokens = tokeniser([query["text"] for query in question.queries])
    tokeniser.warn_truncated(tokens, label)
    ground_truth, video_tasks = question.truth.tolist(), question.video_tasks
    at_once, own_task = queries_at_once(len(ground_truth), len(video_tasks)), [video_tasks[v] for v in ground_truth]
    blocks = score_in_blocks(encoder, tokens, own_task, galleries, states, label, at_once)
    # scores that are too large to store are ranked now; evaluate refuses ranks of another `ranking`
    ranking = None if at_once >= len(ground_truth) else read("ranking", Ranking)
    return keep_scores(folder, question.split, blocks, ground_truth, video_tasks, ranking)


if __name__ == "__main__":
    command(main)
