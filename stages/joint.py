"""The reference `joint`: `finetune`'s model and L_con on the pairs of all tasks at once, routed as task 1."""

from typing import Any

import numpy as np
import torch

from structalign.console import command
from structalign.data.frame_store import FrameSplit
from structalign.data.tasks import category_ids, key, read_tasks
from structalign.evaluation.metrics import measure
from structalign.evaluation.ranks import rank as rank_queries
from structalign.learning.init_task import backbone, from_scratch
from structalign.learning.methods.finetune import METHOD
from structalign.learning.settings import read_settings
from structalign.learning.trainer import Trainer
from structalign.model.backbone import Tokeniser, pixel_statistics
from structalign.model.checkpoint import CheckpointConfig, save_checkpoint
from structalign.model.features import Features, JoinedFeatures, read_captions
from structalign.model.sources import make_source
from structalign.model.video_text import VideoText
from structalign.params.features import FeaturesParams
from structalign.params.optim import Phase
from structalign.params.ranking import Ranking
from structalign.params.reading import read
from structalign.paths import BACKBONE, FEATURES, FRAMES, MANIFEST, REPORTS, WORK
from structalign.scratch import scratch
from structalign.search.encoder import Encoder
from structalign.search.index import Gallery
from structalign.search.scoring import score_queries
from structalign.search.signal import observe, states
from structalign.search.similarity_heads import HEADS
from structalign.store import read_rows, whole_folder, write_json

JOINT = REPORTS / "joint"


def main() -> None:
    """Write work/joint (a checkpoint) and reports/joint; there is no forgetting to measure in one task.

    It trains for `optim.first.epochs`: each video is visited as often as in its own task.
    """
    tasks, settings = read_tasks(), read_settings(key(1), read("optim.first", Phase))
    folders, decoded = ([kind / task / "train" for task in tasks] for kind in (FEATURES, FRAMES))
    views = read("features", FeaturesParams)
    used = [list(tasks), settings, views]
    with scratch("joint", "all", used, [BACKBONE, *folders, *decoded]) as progress:
        features = [*map(Features, folders)]
        frames = JoinedFeatures(features).read(0).shape[0]
        clip, device = backbone(BACKBONE)
        model, memory = from_scratch(clip, METHOD, settings, frames)
        pixels = pixel_statistics(BACKBONE)
        videos = [
            make_source(
                model, part, FrameSplit(folder), pixels, device, views.flip, views.seed, settings.backbone.precision
            )
            for part, folder in zip(features, decoded, strict=True)
        ]
        trainer = Trainer(model, METHOD, JoinedFeatures(videos), memory, 1, settings, device)
        trainer.fit(lambda row: None, progress)
        config = CheckpointConfig(
            backbone=settings.backbone.name,
            method="joint",
            seed=settings.seed,
            tasks=["joint"],
            categories=category_ids(tasks),
            model=model.config,
            trained_parameters=trainer.trained_parameters,
        )
        with whole_folder(WORK / "joint") as out:
            save_checkpoint(out, config, model.adapter_state(), {})
        test, val = (rank(model, list(tasks), split, device) for split in ("test", "val"))
    numbers = {**test["t2v"], "v2t_R@1": test["v2t"].get("R@1"), "val_R@1": val["t2v"].get("R@1")}
    sizes = {
        "trained_parameters": trainer.trained_parameters,
        "stored_bytes_per_video": 4 * model.config.frames * model.clip.embedding_dim,
    }
    write_json(JOINT / "metrics.json", numbers | {"sizes": sizes})


@torch.inference_mode()
def rank(model: VideoText, tasks: list[str], split: str, device: torch.device) -> dict[str, Any]:
    """Every metric of a split, all videos encoded by the one model; empty where the split has no queries."""
    encoder = Encoder(model.clip, model, HEADS["fused"], device)
    galleries, observed = [], []
    for number, task in enumerate(tasks, start=1):
        part, captions = Features(FEATURES / task / split), read_captions(FEATURES / task / "train")
        observed.append(observe(encoder.zero_shot(captions.tokens), captions.category, number))
        if len(part):
            frames = encoder.head.store(encoder.videos(part, f"embed joint {task} {split}"))
            rows = [{**row, "task": task} for row in part.rows]
            galleries.append(Gallery(task, number, 1, rows, frames, part.zero_shot_frames()))
    videos = [row for gallery in galleries for row in gallery.rows]
    column = {row["id"]: i for i, row in enumerate(videos)}
    queries = read_rows(MANIFEST / tasks[-1] / "seen.json", "queries", "video", "text", "category", "split", "task")
    asked = [query for query in queries if query["split"] == split and query["video"] in column]
    if not asked:
        return {"t2v": {}, "v2t": {}}
    tokens = Tokeniser(BACKBONE)([query["text"] for query in asked])
    found = score_queries(encoder, tokens, galleries, states(observed), f"score joint {split}")
    ground_truth, video_tasks = np.array([column[query["video"]] for query in asked]), [row["task"] for row in videos]
    scores = {name: matrix.numpy() for name, matrix in found.items()}
    ranks = rank_queries([scores], ground_truth, video_tasks, read("ranking", Ranking))
    return dict(measure(ranks, "method", ground_truth, video_tasks, tasks))


if __name__ == "__main__":
    command(main)
