"""The reference row `joint`: `finetune`'s model and L_con on the pairs of all tasks at once, routed as task 1."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from structalign.console import command
from structalign.costs import measured
from structalign.data.frames import FrameSplit
from structalign.data.tasks import category_ids, read_tasks
from structalign.learning.methods import METHODS
from structalign.learning.settings import read_settings
from structalign.learning.start import backbone, build
from structalign.learning.training import TaskTrainer
from structalign.model.backbone import Tokeniser, pixel_statistics
from structalign.model.checkpoint import Config, save_checkpoint
from structalign.model.features import Features, JoinedFeatures
from structalign.model.inputs import videos_for
from structalign.model.queries import encode_queries
from structalign.model.video_text import VideoText
from structalign.params import read
from structalign.retrieval.gallery import score
from structalign.retrieval.ranking import measure
from structalign.retrieval.ranking import rank as rank_queries
from structalign.retrieval.scoring import embed_videos
from structalign.scratch import scratch
from structalign.sections.features import Features as Views
from structalign.sections.optim import Phase
from structalign.sections.ranking import Ranking
from structalign.store import read_json, whole_folder, write_json

BACKBONE, FEATURES, REPORTS = Path("work/backbone"), Path("work/features"), Path("reports/joint")


def main() -> None:
    """Write work/joint (a checkpoint) and reports/joint; there is no forgetting to measure in one task.

    It trains for `optim.first.epochs`: each video is visited as often as in its own task.
    """
    tasks, settings = read_tasks(), read_settings(read("optim.first", Phase))
    folders, decoded = ([Path("work", kind, task, "train") for task in tasks] for kind in ("features", "frames"))
    views = read("features", Views)
    used = [list(tasks), settings, views]
    with (
        measured("joint", "all", REPORTS / "costs.json") as cost,
        scratch("joint", "all", used, [BACKBONE, *folders, *decoded]) as kept,
    ):
        method, features = METHODS["finetune"], [*map(Features, folders)]
        frames = JoinedFeatures(features).states(0).shape[0]
        clip, device = backbone(BACKBONE)
        model, memory = build(clip, method, settings, frames)
        pixels = pixel_statistics(BACKBONE)
        videos = [
            videos_for(model, part, FrameSplit(folder), pixels, device, views.flip, views.seed)
            for part, folder in zip(features, decoded, strict=True)
        ]
        trainer = TaskTrainer(model, method, JoinedFeatures(videos), memory, 1, settings, device)
        trainer.fit(lambda row: None, kept)
        cost["trained_parameters"] = trainer.trained_parameters
        cost["stored_bytes_per_video"] = 4 * model.shape.frames * model.clip.embedding_dim
        config = Config(
            backbone=settings.backbone.name,
            method="joint",
            seed=settings.seed,
            tasks=["joint"],
            categories=category_ids(tasks),
            shape=asdict(model.shape),
            trained_parameters=trainer.trained_parameters,
        )
        with whole_folder(Path("work/joint")) as out:
            save_checkpoint(out, config, model.adapter_state(), {})
        test, val = (rank(model, list(tasks), split, device) for split in ("test", "val"))
    write_json(
        REPORTS / "metrics.json", {**test["t2v"], "v2t_R@1": test["v2t"].get("R@1"), "val_R@1": val["t2v"].get("R@1")}
    )


@torch.inference_mode()
def rank(model: VideoText, tasks: list[str], split: str, device: torch.device) -> dict[str, Any]:
    """Every metric of a split, all videos encoded by the one model; empty where the split has no queries."""
    parts = {task: Features(FEATURES / task / split) for task in tasks}
    videos = [(row["id"], task) for task, part in parts.items() for row in part.rows]
    column = {video: i for i, (video, _) in enumerate(videos)}
    queries = read_json(Path("work/manifest", tasks[-1], "seen.json"))["queries"]
    asked = [query for query in queries if query["split"] == split and query["video"] in column]
    if not asked:
        return {"t2v": {}, "v2t": {}}
    stored = embed_videos(model, JoinedFeatures(list(parts.values())), device, f"embed joint {split}")
    found = score(encode_queries(model, Tokeniser(BACKBONE)([query["text"] for query in asked]), 1, device), stored)
    owner, came_with = np.array([column[query["video"]] for query in asked]), [task for _, task in videos]
    scores = {name: found[name].numpy() for name in ("words", "sentence")}
    ranks = rank_queries([scores], owner, came_with, read("ranking", Ranking))
    return dict(measure(ranks, "method", owner, came_with, tasks))


if __name__ == "__main__":
    command(main)
