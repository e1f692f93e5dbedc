"""Learn one task: its own training pairs, the checkpoint before, and nothing else."""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from structalign.console import command
from structalign.costs import measured
from structalign.errors import UserError
from structalign.learning.memory import Memory
from structalign.learning.methods import Method, method_named
from structalign.learning.start import build
from structalign.learning.training import Settings, TaskTrainer
from structalign.model.backbone import load_clip
from structalign.model.checkpoint import Config, build_model, load_memory, read_config, save_checkpoint
from structalign.model.device import prepare_device
from structalign.model.features import Features
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
    name = read("method", MethodName).name
    out = Path("checkpoints", task)
    with measured("train", task) as cost:
        before = read_config(Path("checkpoints", row["prev"]))
        if min(row["categories"].values()) != len(before.categories):
            raise UserError(
                f"tasks.yaml gives {task} categories that do not follow the {len(before.categories)} learned ones: a "
                "learned category keeps its number, so only append (`git checkout tasks.yaml` puts the file back)."
            )
        config = replace(
            before,
            method=name,
            seed=read("seed", int),
            tasks=[*before.tasks, task],
            categories=before.categories | row["categories"],
        )
        with (
            whole(Path("work/logs", f"{task}.jsonl")) as log,
            whole_folder(out) as folder,
            log.open("w", encoding="utf-8") as stream,
        ):

            def write(values: dict[str, float]) -> None:
                stream.write(json.dumps(values) + "\n")
                stream.flush()

            method = method_named(name)
            if method.trains:
                config = learn(row, before, config, method, folder, write)
            else:
                save_checkpoint(folder, config, {}, {})
        cost["bytes_checkpoint"] = folder_bytes(out)
        cost["trained_parameters"] = config.trained_parameters
        cost["remembered_bytes"] = config.remembered_bytes


def learn(
    task: dict[str, Any],
    before: Config,
    config: Config,
    method: Method,
    folder: Path,
    log: Callable[[dict[str, float]], None],
) -> Config:
    """Train the task, save the checkpoint into `folder` and return its config."""
    number, first = task["number"], task["number"] == 1
    etf, backbone = read("etf", Etf), read("backbone", Backbone)
    settings = Settings(
        seed=config.seed,
        precision=backbone.precision,
        contrastive=read("contrastive", Contrastive),
        etf=etf,
        crp=None if first else read("crp", Crp),
        pseudo=None if first else read("pseudo", Pseudo),
        shared=read("optim.shared", Shared),
        phase=read("optim.first", Phase) if first else read("optim.later", Phase),
    )
    device = prepare_device()
    features = Features(Path("work/features", config.tasks[-1], "train"))
    clip, previous = load_clip(BACKBONE), Path("checkpoints", task["prev"])
    loaded = build_model(clip, before, previous)
    if loaded is not None:
        model, memory = loaded, Memory(**load_memory(previous))
    else:
        frames = features.states(0).shape[0]
        model, memory = build(clip, read("adapters", Adapters), etf, backbone.vision_frozen, frames, config.seed)
    model.add_task_prototype(config.seed, "task prototype", number)
    trainer = TaskTrainer(model, method, features, memory, number, settings, device)
    if number == 2:
        for mixture in model.mixtures():
            mixture.spread_first_expert()
    with tqdm(total=trainer.steps(), desc=f"train {config.tasks[-1]}", disable=None, leave=False) as bar:

        def step(values: dict[str, float]) -> None:
            log(values)
            bar.update()

        trainer.fit(step)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    remembered = trainer.remember(len(task["categories"])).tensors()
    config = replace(
        config,
        shape=asdict(model.shape),
        trained_parameters=trained,
        remembered_bytes=sum(x.nbytes for x in remembered.values()),
    )
    save_checkpoint(folder, config, model.adapter_state(), remembered)
    return config


if __name__ == "__main__":
    command(main)
