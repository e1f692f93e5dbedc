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
from structalign.model.features import CENTRE, Features, JoinedFeatures
from structalign.model.video_text import encode_queries
from structalign.params import read
from structalign.retrieval.gallery import score
from structalign.retrieval.metrics import measure
from structalign.sections.adapters import Adapters
from structalign.sections.backbone import Backbone
from structalign.sections.contrastive import Contrastive
from structalign.sections.etf import Etf
from structalign.sections.optim import Phase, Shared
from structalign.sections.ranking import Ranking
from structalign.store import read_json, whole_folder, write_json

BACKBONE = Path("work/backbone")
REPORTS = Path("reports/joint")


def main() -> None:
    """Write work/joint (a checkpoint) and reports/joint; there is no forgetting to measure in one task."""
    tasks = read_tasks()
    backbone, etf = read("backbone", Backbone), read("etf", Etf)
    settings = Settings(
        seed=read("seed", int),
        precision=backbone.precision,
        contrastive=read("contrastive", Contrastive),
        etf=etf,
        crp=None,
        pseudo=None,
        shared=read("optim.shared", Shared),
        phase=read("optim.first", Phase),
    )
    with measured("joint", "all", REPORTS / "costs.json") as cost:
        device = prepare_device()
        features = JoinedFeatures([Features(Path("work/features", task, "train")) for task in tasks])
        adapters, frames = read("adapters", Adapters), features.states(0).shape[0]
        model, memory = build(load_clip(BACKBONE), adapters, etf, backbone.vision_frozen, frames, settings.seed)
        model.add_task_prototype(settings.seed, "task prototype", 1)
        trainer = TaskTrainer(model, METHODS["finetune"], features, memory, 1, settings, device)
        with tqdm(total=trainer.steps(), desc="train joint", disable=None, leave=False) as bar:
            trainer.fit(lambda values: (bar.update(), None)[1])
        trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
        ids, shape = category_ids(tasks), asdict(model.shape)
        config = Config(backbone.name, "joint", settings.seed, ["joint"], ids, shape, trained)
        with whole_folder(Path("work/joint")) as out:
            save_checkpoint(out, config, model.adapter_state(), {})
        cost["trained_parameters"] = trained
        cost["stored_bytes_per_video"] = frames * model.clip.embedding_dim * 4
    numbers = {}
    queries = read_json(Path("work/manifest", list(tasks)[-1], "seen.json"))["queries"]
    for split in ("test", "val"):
        parts = {task: Features(Path("work/features", task, split)) for task in tasks}
        videos = [(row["id"], task) for task, part in parts.items() for row in part.rows]
        column = {video: i for i, (video, _) in enumerate(videos)}
        asked = [q for q in queries if q["split"] == split and q["video"] in column]
        gallery = JoinedFeatures(list(parts.values()))
        with torch.inference_mode():
            states = (gallery.states(i, CENTRE).to(device)[None] for i in range(len(gallery)))
            stored = torch.cat([model.encode_frames(state).cpu() for state in states])
            text = encode_queries(model, Tokeniser(BACKBONE)([q["text"] for q in asked]), 1, device)
            words, sentence, _ = (matrix.numpy() for matrix in score(text, stored))
        owner = np.array([column[q["video"]] for q in asked])
        beta = read("ranking", Ranking).beta
        numbers[split] = measure(words, sentence, beta, owner, [task for _, task in videos], list(tasks))
    test: Any = numbers["test"]
    metrics = {**test["t2v"], "v2t_R@1": test["v2t"]["R@1"], "val_R@1": numbers["val"]["t2v"]["R@1"]}
    write_json(REPORTS / "metrics.json", metrics)


if __name__ == "__main__":
    command(main)
