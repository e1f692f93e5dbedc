"""Video-text model: CLIP, the modules that a method adds, and an ETF head (method, section 2).

Modules: `fusion` in the vision tower, `lora` in the text tower (the paper's), `task_lora` in its place, `moe` beside
the MLPs of both, `tower` (all of CLIP's weights learn), `pooling` (text-conditioned), `maps` (over frozen embeddings).

Letters: B videos, N frames, T tokens of a frame, R captions, L tokens of a caption, W width, D embedding.
"""

import copy
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from structalign.model.adapters import (
    EtfHead,
    Experts,
    FrameFusionAttention,
    LoraMixture,
    Routing,
    Stacked,
    generator,
    known_of,
    stacked_once,
)
from structalign.model.backbone import Clip, Tokens
from structalign.model.device import autocast, send
from structalign.model.moe import MoeMlp
from structalign.model.pooling import TextPool
from structalign.model.residual import ResidualMap
from structalign.model.task_lora import TaskLora

Wrapper = FrameFusionAttention | Experts | TaskLora | ResidualMap
PROJECTIONS = ("q_proj", "k_proj", "v_proj", "out_proj")


@dataclass(frozen=True)
class ModelConfig:
    """The modules around CLIP, and which tokens are words. It is saved in every checkpoint's config.

    input_kind: what a video comes as: `pixels` [N, 3, S, S], `states` after the frozen prefix [N, T, W], or frozen
    CLIP's `embeddings` [N, D].
    """

    frames: int
    vision_frozen: int
    rank: int
    alpha: float
    experts: int
    dropout: float
    etf_dim: int
    modules: tuple[str, ...] = ("fusion", "lora")
    input_kind: str = "states"
    head: str = "shared"
    words: str = "strict"


@dataclass(frozen=True)
class TextEmbeddings:
    """words: [R, L, D] raw; mask: [R, L] bool, true on words; sentence: [R, D] raw.

    ids: [R, L] the token ids of words, -1 elsewhere (`Tokens.word_ids`). Only captions that are searched have them.
    """

    words: Tensor
    mask: Tensor
    sentence: Tensor
    ids: Tensor | None = None

    def __getitem__(self, rows: Tensor | slice) -> "TextEmbeddings":
        ids = None if self.ids is None else self.ids[rows]
        return TextEmbeddings(self.words[rows], self.mask[rows], self.sentence[rows], ids)

    def to(self, device: torch.device) -> "TextEmbeddings":
        """The same on another device."""
        return TextEmbeddings(send(self.words, device), send(self.mask, device), send(self.sentence, device))

    def mean_words(self) -> Tensor:
        """[R, D]: the mean over the words of each caption."""
        return (self.words * self.mask[..., None]).sum(dim=1) / self.mask.sum(dim=1, keepdim=True)

    def mapped(self, change: Callable[[Tensor], Tensor]) -> Tensor:
        """`change` [..., D] -> [..., d] of every word, zeros where the mask has none: [R, L, d].

        Padding is often more than half, so it is not computed. On a GPU it is, since reading the mask would wait for
        the device.
        """
        if self.words.is_cuda:
            return change(self.words).masked_fill(~self.mask[..., None], 0)
        packed = change(self.words[self.mask])
        spread = packed.new_zeros(*self.mask.shape, packed.shape[-1])
        spread[self.mask] = packed
        return spread

    def trimmed(self) -> "TextEmbeddings":
        """The same without trailing columns that have no word."""
        used = self.mask.any(dim=0).nonzero()[:, 0]
        length = int(used[-1]) + 1 if len(used) else 1
        return TextEmbeddings(self.words[:, :length], self.mask[:, :length], self.sentence)

    def followed_by(self, other: "TextEmbeddings") -> "TextEmbeddings":
        """Both concatenated, padded to the longer one."""
        length = max(self.mask.shape[1], other.mask.shape[1])
        padded = [
            (
                F.pad(part.words, (0, 0, 0, length - part.mask.shape[1])),
                F.pad(part.mask, (0, length - part.mask.shape[1])),
            )
            for part in (self, other)
        ]
        words, mask = (torch.cat(parts) for parts in zip(*padded, strict=True))
        return TextEmbeddings(words, mask, torch.cat([self.sentence, other.sentence]))


class VideoText(nn.Module):
    """CLIP with the modules around it. Only trainable tensors are saved: see `adapter_state`."""

    def __init__(self, clip: Clip, config: ModelConfig, seed: int):
        super().__init__()
        self.clip = clip
        self.config = config
        self.routing = Routing()
        self.frame_routing = Routing()
        self.task_prototypes = nn.ParameterList()
        self.head = EtfHead(clip.embedding_dim, config.etf_dim, config.head)
        self.pool = TextPool(clip.embedding_dim) if "pooling" in config.modules else None
        self.text_map = ResidualMap(clip.embedding_dim) if "maps" in config.modules else None
        self.video_map = ResidualMap(clip.embedding_dim) if "maps" in config.modules else None
        tuned = clip.model.parameters() if "tower" in config.modules else ()
        self._pretrained = [p.detach().clone() for p in tuned]
        if "fusion" in config.modules:
            self._build_fusion()
        if "lora" in config.modules:
            self._build_lora(seed)
        if "task_lora" in config.modules:
            self._build_task_lora()
        if "moe" in config.modules:
            self._build_moe(clip.vision_layers, self.frame_routing, config.vision_frozen, seed, "vision")
            self._build_moe(clip.text_layers, self.routing, 0, seed, "text")
        # found once, since a walk through all modules takes longer than a layer
        self._wrappers: list[Wrapper] = [module for module in self.modules() if isinstance(module, Wrapper)]

    def _build_fusion(self) -> None:
        for index, layer in enumerate(self.clip.vision_layers):
            if index >= self.config.vision_frozen:
                layer.self_attn = FrameFusionAttention(cast(nn.Module, layer.self_attn), index, self.config.frames)

    def _build_lora(self, seed: int) -> None:
        config = self.config
        for index, layer in enumerate(self.clip.text_layers):
            attention = cast(nn.Module, layer.self_attn)
            for name in PROJECTIONS:
                linear = cast(nn.Linear, getattr(attention, name))
                mixture = LoraMixture(linear, self.routing, config.rank, config.alpha, config.experts, config.dropout)
                mixture.initialise(seed, "lora", index, name)
                setattr(attention, name, mixture)

    def _build_task_lora(self) -> None:
        config = self.config
        for layer in self.clip.text_layers:
            attention = cast(nn.Module, layer.self_attn)
            for name in PROJECTIONS:
                linear = cast(nn.Linear, getattr(attention, name))
                setattr(attention, name, TaskLora(linear, self.routing, config.rank, config.alpha, config.dropout))

    def _build_moe(self, layers: nn.ModuleList, routing: Routing, first: int, seed: int, tower: str) -> None:
        config = self.config
        self.clip.recompute = False  # experts count their choices in the forward pass: it must not run twice
        for index, layer in enumerate(layers):
            if index >= first:
                mlp, width = cast(nn.Module, layer.mlp), cast(int, cast(nn.Module, layer.self_attn).embed_dim)
                moe = MoeMlp(mlp, routing, width, config.rank, config.alpha, config.experts, config.dropout)
                moe.initialise(seed, "moe", tower, index)
                layer.mlp = moe

    def fusions(self) -> list[FrameFusionAttention]:
        """The frame fusion of each vision layer that has one."""
        return [module for module in self._wrappers if isinstance(module, FrameFusionAttention)]

    def mixtures(self) -> list[LoraMixture]:
        """The LoRA mixtures of the text layers."""
        return [module for module in self._wrappers if isinstance(module, LoraMixture)]

    def task_loras(self) -> list[TaskLora]:
        """The per-task LoRA adapters of the text layers."""
        return [module for module in self._wrappers if isinstance(module, TaskLora)]

    def moes(self) -> list[MoeMlp]:
        """The mixtures of experts of the layers that have one."""
        return [module for module in self._wrappers if isinstance(module, MoeMlp)]

    def experts(self) -> list[Experts]:
        """Every module that chooses among experts."""
        return [*self.mixtures(), *self.moes()]

    def wrappers(self) -> list[Wrapper]:
        """Every module that wraps a frozen one and can be switched off."""
        return list(self._wrappers)

    @property
    def routed(self) -> bool:
        """Whether a caption's embedding depends on the task that it is encoded for."""
        return bool(self.experts() or self.task_loras())

    @property
    def tasks(self) -> int:
        """The number of tasks that a caption can be routed as. 0 if no module has parameters per task."""
        loras = self.task_loras()
        return len(loras[0].lora_As) if loras else len(self.task_prototypes)

    def add_task(self, *key: str | int) -> None:
        """Add the next task's prototype, or its router or adapter in every layer, seeded by `key`."""
        if self.mixtures():
            self.add_task_prototype(*key)
        for number, moe in enumerate(self.moes()):
            moe.add_router(*key, "router", number)
        for number, lora in enumerate(self.task_loras()):
            lora.add_task(*key, "lora", number)

    def add_task_prototype(self, *key: str | int) -> None:
        """Append the routing vector u_p of the next task, std W^-1/2, seeded by `key`."""
        width = self.clip.text_width
        self.task_prototypes.append(nn.Parameter(torch.randn(width, generator=generator(*key)) * width**-0.5))

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Inside the block this is the pretrained CLIP: adapters are off, and tuned weights are reset."""
        wrappers = self.wrappers()
        for module in wrappers:
            module.enabled = False
        self._swap_pretrained()
        try:
            yield
        finally:
            for module in wrappers:
                module.enabled = True
            self._swap_pretrained()

    def stacked_once(self) -> AbstractContextManager[None]:
        """A block between whose passes nothing learns: values that passes and layers share are computed once."""
        return stacked_once([module for module in self._wrappers if isinstance(module, Stacked)])

    def frozen_copy(self) -> "VideoText":
        """A copy of the current model in eval mode, with the same backbone. It does not change while this model trains.

        Made inside `frozen`, it is the pretrained CLIP.
        """
        shared = [*self.backbone_parameters(), self.routing.prototypes, self.frame_routing.prototypes]
        return copy.deepcopy(self, {id(tensor): tensor for tensor in shared}).eval().requires_grad_(False)

    def _swap_pretrained(self) -> None:
        """Exchange CLIP's weights and the pretrained ones. Does nothing if all are frozen."""
        for i, p in enumerate(self.clip.model.parameters() if self._pretrained else ()):
            p.data, self._pretrained[i] = self._pretrained[i].to(p.device), p.data

    @torch.no_grad()
    def inputs(self, pixels: Tensor, precision: str = "fp32") -> Tensor:
        """[N, 3, S, S] normalised pixels of a video -> the input of `encode_frames`, without the batch dimension.

        precision: the precision in which the states are computed.
        """
        if self.config.input_kind == "pixels":
            return pixels
        with autocast(pixels.device, precision):
            states = self.clip.vision_prefix(pixels, self.config.vision_frozen).to(pixels.dtype)
        if self.config.input_kind == "states":
            return states
        return self.clip.vision_suffix(states, self.config.vision_frozen)

    def encode_frames(self, videos: Tensor) -> Tensor:
        """[B, N, ...] videos as `config.input_kind` says -> [B, N, D] raw frame embeddings, as the newest task."""
        count, frames = videos.shape[:2]
        if self.video_map is not None:
            mapped: Tensor = self.video_map(videos)
            return mapped
        flat = videos.flatten(0, 1)
        if moes := self.moes():
            newest = torch.full((len(flat),), len(moes[0].routers), device=flat.device)
            self.frame_routing.set(newest, torch.zeros_like(newest), newest[:, None])
        depth = self.config.vision_frozen
        if self.config.input_kind == "pixels":
            flat, depth = self.clip.vision_prefix(flat, 0), 0
        return self.clip.vision_suffix(flat, depth).view(count, frames, -1)

    def encode_text(self, tokens: Tokens, tasks: Tensor) -> TextEmbeddings:
        """Captions, each routed as its own task. tasks: [R] int64, 1-based, on the CPU."""
        if len(self.task_prototypes):
            prototypes = torch.stack(list(self.task_prototypes))[send(tasks - 1, tokens.ids.device)]
        else:
            prototypes = torch.zeros(len(tasks), self.clip.text_width, device=tokens.ids.device)
        return self.encode_routed(tokens, tasks, prototypes)

    def encode_routed(self, tokens: Tokens, tasks: Tensor, prototypes: Tensor) -> TextEmbeddings:
        """As `encode_text`, with the task prototype [R, W] of each caption given."""
        self.routing.set(send(tasks, tokens.eot.device), tokens.eot, prototypes, known_of(tasks))
        return self.text_of(tokens, self.text_states(tokens))

    def text_states(self, tokens: Tokens) -> Tensor:
        """Raw embeddings [R, L, D] of all tokens, as `routing` is set.

        On a GPU the adapters of all layers are stacked by one launch. On a CPU so much fresh memory takes longer.
        """
        with self.stacked_once() if tokens.ids.is_cuda else nullcontext():
            return self.clip.text(tokens, padding_mask=self.config.words == "with_padding")

    def text_of(self, tokens: Tokens, embeddings: Tensor) -> TextEmbeddings:
        """The captions' text embeddings, from the raw embeddings [R, L, D] of all tokens."""
        padding = self.config.words == "with_padding"
        mask = tokens.words_with_padding() if padding else tokens.word_mask()
        rows = torch.arange(len(tokens.eot), device=tokens.eot.device)
        return self.map_text(TextEmbeddings(embeddings, mask, embeddings[rows, tokens.eot]))

    def map_text(self, frozen: TextEmbeddings) -> TextEmbeddings:
        """Apply the text map to zero-shot CLIP's embeddings. Without maps they do not change."""
        if self.text_map is None:
            return frozen
        words = frozen.mapped(self.text_map)
        return TextEmbeddings(words, frozen.mask, self.text_map(frozen.sentence))

    def adapter_state(self) -> dict[str, Tensor]:
        """All tensors that do not belong to the pretrained backbone, by name."""
        frozen = {id(parameter) for parameter in self.backbone_parameters()}
        state = {name: p.detach().cpu() for name, p in self.named_parameters() if id(p) not in frozen}
        return state | {name: buffer.cpu() for name, buffer in self.counters().items()}

    def counters(self) -> dict[str, Tensor]:
        """The counters that modules update during training, by name."""
        counted = {id(buffer) for moe in self.moes() for buffer in moe.buffers(recurse=False)}
        return {name: buffer for name, buffer in self.named_buffers() if id(buffer) in counted}

    def counts(self) -> list[Tensor]:
        """How often each expert was chosen, for every module that counts it."""
        return [moe.chosen for moe in self.moes()]

    def backbone_parameters(self) -> Iterator[nn.Parameter]:
        """CLIP's frozen parameters: those in none of the `groups`."""
        adapters = {id(p) for group in self.groups().values() for p in group}
        return (p for p in self.parameters() if id(p) not in adapters)

    def groups(self) -> dict[str, list[nn.Parameter]]:
        """All trainable parameters by role. Each is in exactly one group."""
        fusions, mixtures, moes = self.fusions(), self.mixtures(), self.moes()
        own = [p for lora in self.task_loras() for p in (*lora.lora_As, *lora.lora_Bs)]
        maps = [module for module in (self.text_map, self.video_map) if module is not None]
        projections = [
            p for m in fusions for name, p in m.named_parameters() if not name.startswith(("attention.", "alpha"))
        ]
        return {
            "fusion": projections,
            "alpha": [m.alpha for m in fusions],
            "lora": [p for m in mixtures for p in (m.lora_A, *m.lora_Bs)] + own,
            "router": [p for m in mixtures for p in (m.router, m.w_noise)],
            "task_prototypes": list(self.task_prototypes),
            "experts": [p for m in moes for p in (*m.lora_As, *m.lora_Bs)],
            "routers": [p for m in moes for p in (*m.routers, *m.w_noises)],
            "tower": list(self.clip.model.parameters()) if self._pretrained else [],
            "pooling": list(self.pool.parameters()) if self.pool is not None else [],
            "maps": [p for m in maps for p in m.parameters()],
            "head": list(self.head.parameters()),
        }

    def learning(self, task: int) -> dict[str, list[nn.Parameter]]:
        """The parameters of `groups` that learn in `task` (from 1).

        In task 1, only the first expert of the LoRA mixture learns, without router and task prototype. Of routers,
        prototypes and adapters that each task has, only this task's learn. Frozen experts and heads that do not
        learn stay as they are.
        """
        groups, moes = self.groups(), self.moes()
        if not self.head.learns:
            groups["head"] = []
        if task == 1:
            groups["lora"] = [p for m in self.mixtures() for p in (m.lora_A, m.lora_Bs[0])]
            groups["router"], groups["task_prototypes"] = [], []
        if loras := self.task_loras():
            groups["lora"] = [p for lora in loras for p in lora.adapter(task)]
        groups["task_prototypes"] = groups["task_prototypes"][task - 1 : task]
        groups["experts"] = [p for m in moes for p in m.learning_experts()]
        groups["routers"] = [p for m in moes for p in (m.routers[task - 1], m.w_noises[task - 1])]
        return groups
