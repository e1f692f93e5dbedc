"""A checkpoint folder: config.json, adapters.safetensors, memory.safetensors and a model card.

It names its backbone; `checkpoints/t00`, before any task, is CLIP without adapters.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from pydantic import ConfigDict, TypeAdapter, ValidationError
from safetensors.torch import load_file, save_file
from torch import Tensor

from structalign.errors import UserError
from structalign.formats import CHECKPOINT_FORMAT, format_of
from structalign.model.backbone import Clip
from structalign.model.video_text import ModelConfig, VideoText
from structalign.store import digest, read_json, write_json


@dataclass(frozen=True)
class CheckpointConfig:
    """backbone: its name in params.yaml; tasks: keys learned so far; categories: global id by name; model: None for
    zero-shot CLIP; similarity: how captions and videos are compared, a head of `search.similarity_heads`."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")  # ModelConfig's, too

    backbone: str
    method: str | None = None
    seed: int = 0
    tasks: list[str] = field(default_factory=list)
    categories: dict[str, int] = field(default_factory=dict)
    model: ModelConfig | None = None
    similarity: str = "fused"
    trained_parameters: int = 0
    remembered_bytes: int = 0


def read_config(folder: Path) -> CheckpointConfig:
    """The config of a checkpoint folder; a folder without one, or of a newer format, is a `UserError`."""
    values, format = _read_values(folder)
    fields = _from_format_1(values) if format == 1 else {name: values[name] for name in values if name != "format"}
    try:
        return TypeAdapter(CheckpointConfig).validate_python(fields)
    except ValidationError as error:
        wrong = ".".join(map(str, error.errors()[0]["loc"]))
        raise UserError(
            f"{folder / 'config.json'} is not a checkpoint's config (see `{wrong}`): name a folder that `dvc repro` "
            "wrote."
        ) from None


def _read_values(folder: Path) -> tuple[dict[str, Any], int]:
    """What config.json holds, and its format."""
    path = folder / "config.json"
    if not path.exists():
        raise UserError(
            f"{folder} is no checkpoint: it has no config.json (`dvc repro` makes checkpoints/t01, t02, …)."
        )
    values = read_json(path)
    if not isinstance(values, dict):
        raise UserError(f"{path} is not a checkpoint's config: name a folder that `dvc repro` wrote.")
    return values, format_of(path, values, CHECKPOINT_FORMAT)


def _from_format_1(values: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a config from before it had a format number, under the names of format 2."""
    renamed = {"comparison": "similarity", "shape": "model", "parts": "modules", "reads": "input_kind"}

    def with_new_names(fields: Mapping[str, Any]) -> dict[str, Any]:
        return {renamed.get(name, name): value for name, value in fields.items() if name != "format"}

    fields = with_new_names(values)
    if isinstance(fields.get("model"), dict):
        fields["model"] = with_new_names(fields["model"])
    return fields


def build_model(clip: Clip, config: CheckpointConfig, folder: Path) -> VideoText | None:
    """The model of a checkpoint, in eval mode, or None where it has no adapters: zero-shot CLIP."""
    if config.model is None:
        return None
    model = VideoText(clip, config.model, config.seed)
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


def save_checkpoint(
    folder: Path, config: CheckpointConfig, adapters: dict[str, Tensor], memory: dict[str, Tensor]
) -> None:
    """Write a checkpoint into the existing `folder`."""
    write_json(folder / "config.json", {"format": CHECKPOINT_FORMAT, **asdict(config)})
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
    tensors = load_file(path) if path.exists() else {}
    if _read_values(folder)[1] == 1:  # held what the task prior needs, which is beside the galleries now
        return {name: tensor for name, tensor in tensors.items() if not name.startswith("caption_")}
    return tensors


def model_card(config: CheckpointConfig) -> str:
    """A short description of a checkpoint, for its README.md."""
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
