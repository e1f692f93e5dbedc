"""Convert between the tensor names of the authors' released checkpoints and ours.

A released file is one state dict. It has the CLIP names of transformers 4 with the prefix `clipmodel.`, including the
adapters, and the two heads `etf_proj1` (text) and `etf_proj2` (video). It has fusion parameters in all vision layers,
also in inactive ones. Tensors that our model does not use (these, and `logit_scale`) are kept, so that an imported file
can be exported unchanged.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from structalign.errors import UserError
from structalign.model.adapters import FrameFusionAttention
from structalign.model.backbone import Clip, empty_clip
from structalign.model.video_text import ModelConfig, VideoText

State = Mapping[str, Tensor]

PREFIX = "clipmodel."
LOGIT_SCALE = PREFIX + "logit_scale"
LISTED = 12  # names that an error lists before it only counts
TEXT = re.compile(r"(text_model\.encoder\.layers\.\d+\.self_attn)\.(q|k|v|out)_proj\.(.+)")
VISION = re.compile(r"(vision_model\.encoder\.layers\.(\d+)\.self_attn)\.(.+)")
HEADS = {"weight": "etf_proj1.weight", "video_weight": "etf_proj2.weight"}  # text, video
PARTS = {"lora_A": "lora_A.weight", "router": "lora_route.weight", "w_noise": "w_noise.weight"}


def released_name(name: str, vision_frozen: int) -> str:
    """The released name of one of `VideoText`'s tensors.

    >>> released_name("clip.model.text_model.encoder.layers.3.self_attn.out_proj.lora_Bs.2", 2)
    'clipmodel.text_model.encoder.layers.3.self_attn.out_lora.lora_Bs.2.weight'
    >>> released_name("clip.model.vision_model.encoder.layers.3.self_attn.q_proj.bias", 2)
    'clipmodel.vision_model.encoder.layers.3.self_attn.frame_cross_attention.q_proj.bias'
    """
    if name.startswith("head."):
        return HEADS[name.removeprefix("head.")]
    if name.startswith("task_prototypes."):
        return f"{PREFIX}text_model.task_prototype.{name.removeprefix('task_prototypes.')}"
    inner = name.removeprefix("clip.model.")
    if match := TEXT.fullmatch(inner):
        attention, projection, part = match.groups()
        if part.startswith("linear."):
            return f"{PREFIX}{attention}.{projection}_proj.{part.removeprefix('linear.')}"
        return f"{PREFIX}{attention}.{projection}_lora.{PARTS.get(part, f'{part}.weight')}"
    if (match := VISION.fullmatch(inner)) and int(match[2]) >= vision_frozen and match[3] != "alpha":
        attention, _, part = match.groups()
        if part.startswith("attention."):
            return f"{PREFIX}{attention}.{part.removeprefix('attention.')}"
        return f"{PREFIX}{attention}.frame_cross_attention.{part}"
    return PREFIX + inner


def read_released(path: Path) -> dict[str, Tensor]:
    """The state dict of a released file, at its top level or under `state_dict`.

    The file is safetensors, or readable by `torch.load(weights_only=True)`. Raises `UserError` for any other file.
    """
    try:
        held = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except Exception as error:  # unpickling and the formats' readers raise many kinds of errors
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise UserError(
            f"{path} can't be read as safetensors or as torch weights ({reason}): name a released checkpoint file."
        ) from None
    state = held.get("state_dict", held) if isinstance(held, Mapping) else None
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(
            f"{path} has no state dict, at its top level or under `state_dict`: name a released checkpoint file."
        )
    return dict(state)


def clip_of(state: State, config: Mapping[str, Any], source: str = "the state dict") -> Clip:
    """The backbone that a released state dict holds, as precise as there, of the sizes in `config`, the content of a
    CLIP's config.json."""
    clip = empty_clip(dict(config))
    own = clip.model.state_dict()
    _refuse_misfits(
        {name: state[PREFIX + name] for name in own if PREFIX + name in state},
        {name: tuple(tensor.shape) for name, tensor in own.items()},
        source,
    )
    clip.model.to(state[LOGIT_SCALE].dtype).load_state_dict({name: state[PREFIX + name] for name in own})
    return clip


def config_of(state: State, like: ModelConfig, source: str = "the state dict") -> ModelConfig:
    """`like` with what a released state dict says itself: rank, experts and the dimension of ETF space."""
    first = f"{PREFIX}text_model.encoder.layers.0.self_attn.q_lora"
    needed = (f"{first}.lora_A.weight", f"{first}.lora_Bs.0.weight", "etf_proj1.weight")
    if missing := [name for name in needed if name not in state or state[name].ndim != 2]:
        raise UserError(f"{source} is not a released checkpoint: it lacks the matrices {', '.join(missing)}.")
    experts = sum(name.startswith(f"{first}.lora_Bs.") for name in state)
    rank, dim = state[needed[0]].shape[0], state[needed[2]].shape[0]
    return replace(like, rank=rank, experts=experts, etf_dim=dim)


def from_released(
    state: State, clip: Clip, like: ModelConfig, source: str = "the state dict"
) -> tuple[VideoText, dict[str, Tensor]]:
    """The model of a released state dict around its backbone `clip`, in eval mode, and the tensors it has no place for.

    like: frames, vision_frozen, alpha, dropout, head and words, which a file doesn't say. Unknown, missing and wrongly
    shaped names, and a backbone with other weights, are a `UserError`.
    """
    config = config_of(state, like, source)
    backbone = {PREFIX + name: tensor for name, tensor in clip.model.state_dict().items()}
    positions = position_ids(clip)
    model = VideoText(clip, config, seed=0).to(backbone[LOGIT_SCALE].dtype)
    for _ in range(sum(name.startswith(f"{PREFIX}text_model.task_prototype.") for name in state)):
        model.add_task_prototype("released")
    ours = {name: released_name(name, config.vision_frozen) for name, _ in model.named_parameters()}
    parameters = dict(model.named_parameters())
    expected = {released: tuple(parameters[name].shape) for name, released in ours.items()}
    spare = {name: tuple(tensor.shape) for name, tensor in idle_fusion(clip, config.vision_frozen).items()}
    heads = {name: (config.etf_dim, clip.embedding_dim) for name in HEADS.values() if name not in expected}
    given = {name: tensor for name, tensor in state.items() if name not in positions}
    _refuse_misfits(given, expected | spare | heads, source)
    other = [
        name
        for name, tensor in backbone.items()
        if name != LOGIT_SCALE and not torch.allclose(state[name].float(), tensor.float(), rtol=1e-3, atol=1e-4)
    ]
    if other:
        raise UserError(f"{source} was trained on another CLIP than the backbone given, {_listed(other)} differ.")
    adapters = model.adapter_state()
    with torch.no_grad():
        for name in adapters:
            parameters[name].copy_(state[ours[name]])
    return model.eval(), {name: state[name].clone() for name in (*spare, LOGIT_SCALE)}


def to_released(model: VideoText, kept: State) -> dict[str, Tensor]:
    """The released state dict of a model; `kept` is what `from_released` had no place for, or nothing.

    Without it fusion parameters of inactive layers are as new, and the temperature is the backbone's.
    """
    frozen = model.config.vision_frozen
    if set(model.config.modules) != {"fusion", "lora"}:
        raise UserError(
            f"the released names have no place for a model of {', '.join(model.config.modules) or 'no modules'}."
        )
    state = {
        released_name(name, frozen): tensor.detach().cpu().clone() for name, tensor in model.named_parameters()
    } | idle_fusion(model.clip, frozen)
    if "etf_proj2.weight" not in state:  # one head, or none, for both
        dim = model.clip.embedding_dim
        state["etf_proj2.weight"] = state.setdefault("etf_proj1.weight", torch.eye(dim)).clone()
    return state | position_ids(model.clip) | {name: tensor.clone() for name, tensor in kept.items()}


def position_ids(clip: Clip) -> dict[str, Tensor]:
    """The buffers that transformers 4 saved: the numbers of both towers' positions."""
    places = {"text": clip.text_positions, "vision": clip.vision_positions}
    return {f"{PREFIX}{tower}_model.embeddings.position_ids": torch.arange(n)[None] for tower, n in places.items()}


def idle_fusion(clip: Clip, vision_frozen: int) -> dict[str, Tensor]:
    """OnlineCrops fusion parameters of the layers where fusion is not active, by their released names."""
    found = {}
    for index, layer in enumerate(clip.vision_layers[:vision_frozen]):
        fusion = FrameFusionAttention(cast(nn.Module, layer.self_attn), index, 1)
        fusion.initialise_uniformly("idle fusion", index)
        for name, tensor in fusion.named_parameters():
            if not name.startswith("attention."):
                ours = f"clip.model.vision_model.encoder.layers.{index}.self_attn.{name}"
                found[released_name(ours, 0)] = tensor.detach().clone()
    return found


def _refuse_misfits(state: State, expected: Mapping[str, tuple[int, ...]], source: str) -> None:
    unknown = [name for name in state if name not in expected]
    missing = [name for name in expected if name not in state]
    shapes = [
        f"{name} {list(state[name].shape)} instead of {list(shape)}"
        for name, shape in expected.items()
        if name in state and tuple(state[name].shape) != shape
    ]
    found = {"unknown": unknown, "missing": missing, "wrongly shaped": shapes}
    complaints = [f"{kind} are {_listed(names)}" for kind, names in found.items() if names]
    if complaints:
        raise UserError(f"{source} does not fit the backbone and the adapters: {'; '.join(complaints)}.")


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(sorted(names)[:LISTED]) + more
