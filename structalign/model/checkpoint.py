"""A checkpoint folder: config.json, adapters.safetensors, memory.safetensors and a model card.

It names its backbone; `checkpoints/t00`, before any task, is the frozen CLIP with no adapters.
"""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from structalign.errors import UserError
from structalign.model.backbone import Clip
from structalign.model.video_text import Shape, VideoText
from structalign.store import digest, read_json, write_json


@dataclass(frozen=True)
class Config:
    """backbone: its name in params.yaml; tasks: keys learned so far; categories: global id by name; comparison:
    how captions and videos are compared, a row of `search.heads`."""

    backbone: str
    method: str | None = None
    seed: int = 0
    tasks: list[str] = field(default_factory=list)
    categories: dict[str, int] = field(default_factory=dict)
    shape: dict[str, Any] | None = None
    comparison: str = "fused"
    trained_parameters: int = 0
    remembered_bytes: int = 0


def read_config(folder: Path) -> Config:
    """The config of a checkpoint folder; a folder without one is a `UserError`."""
    path = folder / "config.json"
    if not path.exists():
        raise UserError(
            f"{folder} is no checkpoint: it has no config.json (`dvc repro` makes checkpoints/t01, t02, …)."
        )
    values = read_json(path)
    try:
        if values.get("shape"):
            values["shape"]["parts"] = tuple(values["shape"]["parts"])
        return Config(**values)
    except (KeyError, TypeError):
        raise UserError(f"{path} is not a checkpoint's config: name a folder that `dvc repro` wrote.") from None


def build_model(clip: Clip, config: Config, folder: Path) -> VideoText | None:
    """The model of a checkpoint, in eval mode, or None where it has no adapters: frozen CLIP."""
    if config.shape is None:
        return None
    model = VideoText(clip, Shape(**config.shape), config.seed)
    if not (folder / "adapters.safetensors").exists():
        raise UserError(f"{folder} lacks adapters.safetensors: `dvc checkout {folder}` restores it.")
    state = load_file(folder / "adapters.safetensors")
    for _ in config.tasks:
        model.add_task("loaded")
    expected = model.adapter_state()
    if wrong := sorted(set(state) ^ set(expected)):
        raise UserError(f"{folder}/adapters.safetensors does not fit its config.json: {', '.join(wrong[:5])}.")
    model.load_state_dict(state, strict=False)
    return model.eval()


def save_checkpoint(folder: Path, config: Config, adapters: dict[str, Tensor], memory: dict[str, Tensor]) -> None:
    """Write a checkpoint into the existing `folder`."""
    write_json(folder / "config.json", asdict(config))
    if adapters:
        save_file({name: tensor.contiguous() for name, tensor in adapters.items()}, folder / "adapters.safetensors")
    if memory:
        save_file(memory, folder / "memory.safetensors")
    (folder / "README.md").write_text(model_card(config), encoding="utf-8")


def fingerprint(folder: Path) -> str:
    """The hash of what a checkpoint learned; of its config where it learned nothing."""
    learned = folder / "adapters.safetensors"
    return digest(learned if learned.exists() else folder / "config.json")


def load_memory(folder: Path) -> dict[str, Tensor]:
    """What a checkpoint remembers; empty for one that learned nothing."""
    path = folder / "memory.safetensors"
    return load_file(path) if path.exists() else {}


def model_card(config: Config) -> str:
    """A short description of a checkpoint for whoever finds it."""
    categories = "\n".join(f"- {name}" for name in config.categories)
    return (
        f"# structalign checkpoint after {config.tasks[-1] if config.tasks else 'no task'}\n\n"
        f"Method `{config.method}`, seed {config.seed}, on `{config.backbone}`; tasks {', '.join(config.tasks)}; "
        f"{config.trained_parameters:,} trained parameters.\n\n"
        "```python\nimport structalign\n\n"
        'model = structalign.load("path/to/this/folder")\n'
        'model.score(["a caption"], ["a video.mp4"])\n```\n\n'
        f"Categories:\n\n{categories}\n"
    )
