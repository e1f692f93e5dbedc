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
from structalign.learning.resume import Row
from structalign.learning.start import build
from structalign.learning.training import Settings, TaskTrainer
from structalign.model.backbone import load_clip
from structalign.model.checkpoint import Config, build_model, load_memory, read_config, save_checkpoint
from structalign.model.device import prepare_device
from structalign.model.features import Features
from structalign.params import read
from structalign.scratch import scratch
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
        settings = settings_of(config, first=row["number"] == 1)
        used = [read("adapters", Adapters), read("backbone", Backbone)]
        manifest, features = Path("work/manifest", task, "task.json"), Path("work/features", task, "train")
        inputs = [BACKBONE, manifest, features, Path("checkpoints", row["prev"])]
        with (
            scratch("train", task, (config, settings, used), inputs) as kept,
            whole(Path("work/logs", f"{task}.jsonl")) as log,
            whole_folder(out) as folder,
            log.open("w", encoding="utf-8") as stream,
        ):

            def write(values: Row) -> None:
                stream.write(json.dumps(values) + "\n")
                stream.flush()

            method = method_named(name)
            if method.trains:
                config = learn(row, before, config, settings, method, folder, write, kept)
            else:
                save_checkpoint(folder, config, {}, {})
        cost["bytes_checkpoint"] = folder_bytes(out)
        cost["trained_parameters"] = config.trained_parameters
        cost["remembered_bytes"] = config.remembered_bytes


def settings_of(config: Config, first: bool) -> Settings:
    """What acts in the task; some sections wait for the second."""
    return Settings(
        seed=config.seed,
        precision=read("backbone", Backbone).precision,
        contrastive=read("contrastive", Contrastive),
        etf=read("etf", Etf),
        crp=None if first else read("crp", Crp),
        pseudo=None if first else read("pseudo", Pseudo),
        shared=read("optim.shared", Shared),
        phase=read("optim.first", Phase) if first else read("optim.later", Phase),
    )


def learn(
    task: dict[str, Any],
    before: Config,
    config: Config,
    settings: Settings,
    method: Method,
    folder: Path,
    log: Callable[[Row], None],
    kept: Path,
) -> Config:
    """Train the task, save the checkpoint into `folder` and return its config; progress is in `kept`."""
    number, device = task["number"], prepare_device()
    features = Features(Path("work/features", config.tasks[-1], "train"))
    clip, previous = load_clip(BACKBONE), Path("checkpoints", task["prev"])
    loaded = build_model(clip, before, previous)
    if loaded is not None:
        model, memory = loaded, Memory(**load_memory(previous))
    else:
        frames = features.states(0).shape[0]
        frozen = read("backbone", Backbone).vision_frozen
        model, memory = build(clip, read("adapters", Adapters), settings.etf, frozen, frames, config.seed)
    model.add_task_prototype(config.seed, "task prototype", number)
    trainer = TaskTrainer(model, method, features, memory, number, settings, device)
    if number == 2:
        for mixture in model.mixtures():
            mixture.spread_first_expert()
    with tqdm(total=trainer.steps(), desc=f"train {config.tasks[-1]}", disable=None, leave=False) as bar:

        def step(values: Row) -> None:
            log(values)
            bar.update()

        trainer.fit(step, kept)
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
