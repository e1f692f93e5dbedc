"""The reference row `joint`: `finetune`'s model and L_con on the pairs of all tasks at once, routed as task 1."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from structalign.console import command
from structalign.costs import measured
from structalign.data.tasks import category_ids, read_tasks
from structalign.learning.methods import METHODS
from structalign.learning.start import build
from structalign.learning.training import Settings, TaskTrainer
from structalign.model.backbone import Tokeniser, load_clip
from structalign.model.checkpoint import Config, save_checkpoint
from structalign.model.device import prepare_device
from structalign.model.features import Features, JoinedFeatures
from structalign.model.video_text import VideoText, encode_queries
from structalign.params import read
from structalign.retrieval.gallery import score
from structalign.retrieval.metrics import measure
from structalign.scratch import scratch
from structalign.sections.adapters import Adapters
from structalign.sections.backbone import Backbone
from structalign.sections.contrastive import Contrastive
from structalign.sections.etf import Etf
from structalign.sections.optim import Phase, Shared
from structalign.sections.ranking import Ranking
from structalign.store import read_json, whole_folder, write_json

BACKBONE = Path("work/backbone")
FEATURES = Path("work/features")
REPORTS = Path("reports/joint")


def main() -> None:
    """Write work/joint (a checkpoint) and reports/joint; there is no forgetting to measure in one task."""
    tasks, settings = read_tasks(), settings_of()
    used = [list(tasks), settings, read("adapters", Adapters), read("backbone", Backbone)]
    inputs = [BACKBONE, *(FEATURES / task / "train" for task in tasks)]
    with measured("joint", "all", REPORTS / "costs.json") as cost, scratch("joint", "all", used, inputs) as kept:
        device = prepare_device()
        model, trained = learn(list(tasks), settings, device, kept)
        name, ids = read("backbone", Backbone).name, category_ids(tasks)
        config = Config(name, "joint", read("seed", int), ["joint"], ids, asdict(model.shape), trained)
        with whole_folder(Path("work/joint")) as out:
            save_checkpoint(out, config, model.adapter_state(), {})
        cost["trained_parameters"] = trained
        cost["stored_bytes_per_video"] = 4 * model.shape.frames * model.clip.embedding_dim
    test, val = (rank(model, list(tasks), split, device) for split in ("test", "val"))
    write_json(
        REPORTS / "metrics.json", {**test["t2v"], "v2t_R@1": test["v2t"].get("R@1"), "val_R@1": val["t2v"].get("R@1")}
    )


def settings_of() -> Settings:
    """What acts in the one task."""
    return Settings(
        seed=read("seed", int),
        precision=read("backbone", Backbone).precision,
        contrastive=read("contrastive", Contrastive),
        etf=read("etf", Etf),
        crp=None,
        pseudo=None,
        shared=read("optim.shared", Shared),
        phase=read("optim.first", Phase),
    )


def learn(tasks: list[str], settings: Settings, device: torch.device, kept: Path) -> tuple[VideoText, int]:
    """Train on all pairs for `optim.first.epochs`: each video is visited as often as in its own task."""
    features, seed = JoinedFeatures([Features(FEATURES / task / "train") for task in tasks]), settings.seed
    adapters, frames = read("adapters", Adapters), features.states(0).shape[0]
    frozen = read("backbone", Backbone).vision_frozen
    model, memory = build(load_clip(BACKBONE), adapters, settings.etf, frozen, frames, seed)
    model.add_task_prototype(seed, "task prototype", 1)
    trainer = TaskTrainer(model, METHODS["finetune"], features, memory, 1, settings, device)
    with tqdm(total=trainer.steps(), desc="train joint", disable=None, leave=False) as bar:
        trainer.fit(lambda values: (bar.update(), None)[1], kept)
    return model, sum(p.numel() for p in model.parameters() if p.requires_grad)


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
    gallery = JoinedFeatures(list(parts.values()))
    stored = torch.cat([model.encode_frames(gallery.states(i).to(device)[None]).cpu() for i in range(len(gallery))])
    text = encode_queries(model, Tokeniser(BACKBONE)([query["text"] for query in asked]), 1, device)
    words, sentence, _ = (matrix.numpy() for matrix in score(text, stored))
    owner = np.array([column[query["video"]] for query in asked])
    came_with = [task for _, task in videos]
    return dict(measure(words, sentence, read("ranking", Ranking).beta, owner, came_with, tasks))


if __name__ == "__main__":
    command(main)
