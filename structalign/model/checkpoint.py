"""A checkpoint folder: config.json, adapters.safetensors, memory.safetensors and a model card.

config.json has the hashes of the other two and of itself, so a changed file is refused. It names its backbone.
`checkpoints/t00`, before the first task, is CLIP without adapters.
"""

import hashlib
import json
import os
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
from structalign.store import damaged, digest, json_text, read_json, reading, write_json


@dataclass(frozen=True)
class CheckpointConfig:
    """backbone: its name in params.yaml. tasks: keys learned so far. categories: global id by name.

    model: None for zero-shot CLIP. similarity: how captions and videos are compared, a head of
    `search.similarity_heads`.
    """

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


ADAPTERS, MEMORY = "adapters.safetensors", "memory.safetensors"
FILES, OWN = "files", "sha256"  # keys of config.json: the hashes of the other files, and of its other values
LARGEST = 65536  # limit of any size of a model: damaged values would demand too much memory
CHOICES = {"input_kind": ("pixels", "states", "embeddings"), "words": ("strict", "with_padding")}


def read_config(folder: Path) -> CheckpointConfig:
    """The config of a checkpoint folder. Raises `UserError` if there is none, or if it has a newer format."""
    values, format = _read_values(folder)
    own = {name: values[name] for name in values if name not in ("format", FILES, OWN)}
    fields = _from_format_1(own) if format == 1 else own
    try:
        config = TypeAdapter(CheckpointConfig).validate_python(fields)
    except ValidationError as error:
        wrong = ".".join(map(str, error.errors()[0]["loc"]))
    else:
        wrong = _impossible(config.model)
        if not wrong:
            return config
    raise UserError(
        f"{folder / 'config.json'} is not a checkpoint's config (see `{wrong}`): name a folder that `dvc repro` wrote."
    )


def _impossible(model: ModelConfig | None) -> str:
    """The first field of a model with an impossible value, or an empty text."""
    for name, value in asdict(model).items() if model is not None else ():
        least = 1 if name == "frames" else 0
        if isinstance(value, int | float) and not least <= value <= LARGEST:
            return f"model.{name}"
        if name in CHOICES and value not in CHOICES[name]:
            return f"model.{name}"
    return ""


def _read_values(folder: Path) -> tuple[dict[str, Any], int]:
    """The values of config.json, and its format."""
    path = folder / "config.json"
    if not os.path.exists(path):  # of a name that is too long, too  # noqa: PTH110
        raise UserError(
            f"{folder} is not a checkpoint, it has no config.json: name one of `dvc repro`, such as checkpoints/t01."
        )
    values = read_json(path)
    if not isinstance(values, dict):
        raise UserError(f"{path} is not a checkpoint's config: name a folder that `dvc repro` wrote.")
    files = values.get(FILES, {})
    if not isinstance(files, dict) or not all(isinstance(name, str) for name in files.values()):
        raise UserError(f"{path} is not a checkpoint's config (see `{FILES}`): name a folder that `dvc repro` wrote.")
    format = format_of(path, values, CHECKPOINT_FORMAT)
    if OWN in values and values[OWN] != _hash_of(values):
        raise damaged(path, "it is not what was written")
    return values, format


def _hash_of(values: Mapping[str, Any]) -> str:
    """The hash of a config's values, without the hash itself."""
    return hashlib.sha256(json_text({name: values[name] for name in values if name != OWN}).encode()).hexdigest()


def _from_format_1(values: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a config of format 1, which has no format number, with the names of format 2."""
    renamed = {"comparison": "similarity", "shape": "model", "parts": "modules", "reads": "input_kind"}

    def with_new_names(fields: Mapping[str, Any]) -> dict[str, Any]:
        return {renamed.get(name, name): value for name, value in fields.items() if name != "format"}

    fields = with_new_names(values)
    if isinstance(fields.get("model"), dict):
        fields["model"] = with_new_names(fields["model"])
    return fields


def build_model(clip: Clip, config: CheckpointConfig, folder: Path) -> VideoText | None:
    """The model of a checkpoint in eval mode, or None if it has no adapters, so that it is zero-shot CLIP."""
    if config.model is None:
        return None
    state = _load_tensors(folder, ADAPTERS)
    if state is None:
        raise UserError(f"{folder} lacks {ADAPTERS}: `dvc checkout {folder}` restores it.")
    model = VideoText(clip, config.model, config.seed)
    for _ in config.tasks:
        model.add_task("loaded")
    expected = model.adapter_state()
    wrong = set(state) ^ set(expected) or {name for name in state if state[name].shape != expected[name].shape}
    if wrong:
        raise UserError(f"{folder / ADAPTERS} does not fit its config.json: {', '.join(sorted(wrong)[:5])}.")
    model.load_state_dict(state, strict=False)
    return model.eval()


def _load_tensors(folder: Path, name: str) -> dict[str, Tensor] | None:
    """The verified tensors of a checkpoint's file. None if the checkpoint has no such file."""
    path, files = folder / name, _read_values(folder)[0].get(FILES, {})
    if not path.exists() and name not in files:
        return None
    with reading(path):
        _verified(path, files)
        tensors = load_file(path)
    for key, tensor in tensors.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise damaged(path, f"{key} has values that are not finite")
    return tensors


def save_checkpoint(
    folder: Path, config: CheckpointConfig, adapters: dict[str, Tensor], memory: dict[str, Tensor]
) -> None:
    """Write a checkpoint into the existing `folder`."""
    files: dict[str, str] = {}
    for name, tensors in ((ADAPTERS, adapters), (MEMORY, memory)):
        if tensors:
            save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, folder / name)
            files[name] = digest(folder / name)
    # through JSON, so that the hash is of the values that will be read
    values = json.loads(json_text({"format": CHECKPOINT_FORMAT, **asdict(config), FILES: files}))
    write_json(folder / "config.json", {**values, OWN: _hash_of(values)})
    (folder / "README.md").write_text(model_card(config), encoding="utf-8")


def fingerprint(folder: Path) -> str:
    """The hash of a checkpoint's weights, or of its config if it has none. Raises `UserError` if it is damaged."""
    learned = folder / ADAPTERS
    if not learned.exists():
        return digest(folder / "config.json")
    return _verified(learned, _read_values(folder)[0].get(FILES, {}))


def _verified(path: Path, files: Mapping[str, str]) -> str:
    """The hash of a file. Raises `UserError` if it has changed."""
    found = digest(path)
    if files.get(path.name, found) != found:
        raise damaged(path, "it is not what was written")
    return found


def load_memory(folder: Path) -> dict[str, Tensor]:
    """The memory of a checkpoint. Empty if it has learned nothing."""
    tensors = _load_tensors(folder, MEMORY) or {}
    if _read_values(folder)[1] == 1:  # it had the task prior's statistics, which are now stored with the galleries
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
