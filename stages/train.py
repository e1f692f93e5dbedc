"""Learn one task: its own training pairs, the checkpoint before, and nothing else."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import torch
from tqdm import tqdm

from structalign.console import command
from structalign.costs import measured
from structalign.learning.etf import etf_head_init, simplex_etf
from structalign.learning.memory import Memory, empty_memory
from structalign.learning.methods import method_named
from structalign.learning.training import Settings, TaskTrainer
from structalign.model.backbone import Clip, load_clip
from structalign.model.checkpoint import Config, build_model, load_memory, read_config, save_checkpoint
from structalign.model.device import prepare_device
from structalign.model.features import Features
from structalign.model.video_text import Shape, VideoText
from structalign.params import read
from structalign.sections.adapters import Adapters
from structalign.sections.backbone import Backbone
from structalign.sections.contrastive import Contrastive
from structalign.sections.crp import Crp
from structalign.sections.etf import Etf
from structalign.sections.method import MethodName
from structalign.sections.optim import Phase, Shared
from structalign.sections.pseudo import Pseudo
from structalign.store import folder_bytes, read_json, whole, whole_folder

BACKBONE = Path("work/backbone")


def main(task: str) -> None:
    """Write checkpoints/<TASK> and work/logs/<TASK>.jsonl."""
    row = read_json(Path("work/manifest", task, "task.json"))
    number, first, prev = row["number"], row["number"] == 1, row["prev"]
    seed, method = read("seed", int), method_named(read("method", MethodName).name)
    settings = Settings(
        seed=seed,
        precision=read("backbone", Backbone).precision,
        contrastive=read("contrastive", Contrastive),
        etf=read("etf", Etf),
        crp=None if first else read("crp", Crp),
        pseudo=None if first else read("pseudo", Pseudo),
        shared=read("optim.shared", Shared),
        phase=read("optim.first", Phase) if first else read("optim.later", Phase),
    )
    with measured("train", task) as cost:
        device = prepare_device()
        previous = Path("checkpoints", prev)
        before = read_config(previous)
        config = replace(
            before,
            method=read("method", MethodName).name,
            seed=seed,
            tasks=[*before.tasks, task],
            categories=before.categories | row["categories"],
        )
        with (
            whole(Path("work/logs", f"{task}.jsonl")) as log,
            whole_folder(Path("checkpoints", task)) as out,
            log.open("w", encoding="utf-8") as stream,
        ):
            if not method.trains:
                save_checkpoint(out, config, {}, {})
                return
            features = Features(Path("work/features", task, "train"))
            model, memory = start(load_clip(BACKBONE), before, previous, settings, features)
            model.add_task_prototype(seed, "task prototype", number)
            trainer = TaskTrainer(model, method, features, memory, number, settings, device)
            if number == 2:
                for mixture in model.mixtures():
                    mixture.spread_first_expert()
            bar = tqdm(total=trainer.steps(), desc=f"train {task}", disable=None, leave=False)

            def write(values: dict[str, float]) -> None:
                stream.write(json.dumps(values) + "\n")
                stream.flush()
                bar.update()

            trainer.fit(write)
            bar.close()
            trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
            remembered = trainer.remember(len(row["categories"])).tensors()
            config = replace(
                config,
                shape=asdict(model.shape),
                trained_parameters=trained,
                remembered_bytes=sum(x.nbytes for x in remembered.values()),
            )
            save_checkpoint(out, config, model.adapter_state(), remembered)
        cost["bytes_checkpoint"] = folder_bytes(Path("checkpoints", task))
        cost["trained_parameters"] = config.trained_parameters
        cost["remembered_bytes"] = config.remembered_bytes


def start(clip: Clip, before: Config, folder: Path, settings: Settings, features: Features) -> tuple[VideoText, Memory]:
    """Model and memory that the task begins with: loaded, or in task 1 made, seeded."""
    model = build_model(clip, before, folder)
    if model is not None:
        return model, Memory(**load_memory(folder))
    adapters, backbone = read("adapters", Adapters), read("backbone", Backbone)
    shape = Shape(
        frames=features.states(0).shape[0],
        vision_frozen=backbone.vision_frozen,
        rank=adapters.rank,
        alpha=adapters.alpha,
        experts=adapters.experts,
        dropout=adapters.dropout,
        etf_dim=settings.etf.dim,
    )
    model = VideoText(clip, shape, settings.seed)
    with torch.no_grad():
        model.head.weight.copy_(etf_head_init(settings.etf.dim, clip.embedding_dim, settings.etf.seed))
    vertices = simplex_etf(settings.etf.dim, settings.etf.capacity or settings.etf.dim + 1, settings.etf.seed)
    return model, empty_memory(vertices, clip.embedding_dim)


if __name__ == "__main__":
    command(main)
