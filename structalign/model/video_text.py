"""Video-text model: a frozen CLIP with frame fusion, a LoRA mixture and an ETF head (method, section 2).

Letters: B videos, N frames, T tokens of a frame, R captions, L tokens of a caption, W width, D embedding.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from structalign.model.adapters import FrameFusionAttention, LoraMixture, Routing, generator
from structalign.model.backbone import Clip, Tokens


@dataclass(frozen=True)
class Shape:
    """What the adapters are built from; saved in every checkpoint's config."""

    frames: int
    vision_frozen: int
    rank: int
    alpha: float
    experts: int
    dropout: float
    etf_dim: int


@dataclass(frozen=True)
class TextEmbeddings:
    """words: [R, L, D] raw; mask: [R, L] bool, true on words; sentence: [R, D] raw."""

    words: Tensor
    mask: Tensor
    sentence: Tensor

    def __getitem__(self, rows: Tensor | slice) -> "TextEmbeddings":
        return TextEmbeddings(self.words[rows], self.mask[rows], self.sentence[rows])


class VideoText(nn.Module):
    """CLIP and its adapters. Only the adapters are trained and saved: see `adapter_state`."""

    def __init__(self, clip: Clip, shape: Shape, seed: int):
        super().__init__()
        self.clip = clip
        self.shape = shape
        self.routing = Routing()
        self.task_prototypes = nn.ParameterList()
        self.head = nn.Linear(clip.embedding_dim, shape.etf_dim, bias=False)
        for index, layer in enumerate(clip.vision_layers):
            if index >= shape.vision_frozen:
                layer.self_attn = FrameFusionAttention(cast(nn.Module, layer.self_attn), index, shape.frames)
        for index, layer in enumerate(clip.text_layers):
            attention = cast(nn.Module, layer.self_attn)
            for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
                linear = cast(nn.Linear, getattr(attention, name))
                mixture = LoraMixture(linear, self.routing, shape.rank, shape.alpha, shape.experts, shape.dropout)
                mixture.initialise(seed, "lora", index, name)
                setattr(attention, name, mixture)

    def fusions(self) -> list[FrameFusionAttention]:
        return [module for module in self.modules() if isinstance(module, FrameFusionAttention)]

    def mixtures(self) -> list[LoraMixture]:
        return [module for module in self.modules() if isinstance(module, LoraMixture)]

    def add_task_prototype(self, *key: str | int) -> None:
        """Append the routing vector u_p of the next task, std W^-1/2, seeded by `key`."""
        width = self.clip.text_width
        self.task_prototypes.append(nn.Parameter(torch.randn(width, generator=generator(*key)) * width**-0.5))

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Inside the block the adapters do nothing: this is the pretrained CLIP."""
        wrappers: list[FrameFusionAttention | LoraMixture] = [*self.fusions(), *self.mixtures()]
        for module in wrappers:
            module.enabled = False
        try:
            yield
        finally:
            for module in wrappers:
                module.enabled = True

    def encode_frames(self, states: Tensor) -> Tensor:
        """[B, N, T, W] states after the frozen prefix -> [B, N, D] raw frame embeddings."""
        videos, frames = states.shape[:2]
        embeddings = self.clip.vision_suffix(states.flatten(0, 1), self.shape.vision_frozen)
        return embeddings.view(videos, frames, -1)

    def encode_text(self, tokens: Tokens, tasks: Tensor) -> TextEmbeddings:
        """Captions, each routed as its own task. tasks: [R] int64, 1-based."""
        if len(self.task_prototypes):
            table = torch.stack(list(self.task_prototypes))
        else:
            table = torch.zeros(1, self.clip.text_width, device=tokens.ids.device)
        self.routing.set(tasks, tokens.eot, table[tasks - 1])
        embeddings = self.clip.text(tokens)
        rows = torch.arange(len(tokens.eot), device=tokens.eot.device)
        return TextEmbeddings(embeddings, tokens.word_mask(), embeddings[rows, tokens.eot])

    def adapter_state(self) -> dict[str, Tensor]:
        """Every tensor that is not the backbone's own, by its name in this module."""
        frozen = {id(parameter) for parameter in self.backbone_parameters()}
        return {name: p.detach().cpu() for name, p in self.named_parameters() if id(p) not in frozen}

    def backbone_parameters(self) -> Iterator[nn.Parameter]:
        adapters = {id(p) for group in self.groups().values() for p in group}
        return (p for p in self.parameters() if id(p) not in adapters)

    def groups(self) -> dict[str, list[nn.Parameter]]:
        """Adapter parameters by role; every adapter parameter is in exactly one group."""
        fusions, mixtures = self.fusions(), self.mixtures()
        projections = [
            p for m in fusions for name, p in m.named_parameters() if not name.startswith(("attention.", "alpha"))
        ]
        return {
            "fusion": projections,
            "alpha": [m.alpha for m in fusions],
            "lora": [p for m in mixtures for p in (m.lora_A, *m.lora_Bs)],
            "router": [p for m in mixtures for p in (m.router, m.w_noise)],
            "task_prototypes": list(self.task_prototypes),
            "head": list(self.head.parameters()),
        }


Encoder = Callable[[Tokens], TextEmbeddings]


@torch.no_grad()
def encode_queries(model: VideoText, tokens: Tokens, task: int, device: torch.device) -> TextEmbeddings:
    """Encode captions routed as `task`, the same numbers whatever the other captions are: [R, L, D] on the CPU."""
    return _by_length(
        tokens,
        lambda rows: model.encode_text(rows, torch.full((len(rows.eot),), task, device=device)),
        device,
    )


@torch.no_grad()
def encode_frozen(clip: Clip, model: VideoText | None, tokens: Tokens, device: torch.device) -> TextEmbeddings:
    """Encode captions with frozen CLIP, whether or not adapters are wrapped around it: [R, L, D] on the CPU."""

    def encode(rows: Tokens) -> TextEmbeddings:
        embeddings = clip.text(rows)
        position = torch.arange(len(rows.eot), device=device)
        return TextEmbeddings(embeddings, rows.word_mask(), embeddings[position, rows.eot])

    with model.frozen() if model is not None else nullcontext():
        return _by_length(tokens, encode, device)


def _by_length(tokens: Tokens, encode: Encoder, device: torch.device, rows: int = 32) -> TextEmbeddings:
    """Captions are grouped by their own token count and encoded `rows` at a time, the last group filled up by
    repeats: the shapes of a caption's computation depend on the caption alone."""
    parts: list[tuple[Tensor, TextEmbeddings]] = []
    for end in torch.unique(tokens.eot).tolist():
        for chunk in (tokens.eot == end).nonzero()[:, 0].split(rows):
            filled = chunk[torch.arange(rows) % len(chunk)]
            parts.append((chunk, encode(tokens[filled].to(device))[slice(len(chunk))]))
    dim = parts[0][1].words.shape[2]
    count, length = tokens.ids.shape
    words, sentence = torch.zeros(count, length, dim), torch.zeros(count, dim)
    mask = torch.zeros(count, length, dtype=torch.bool)
    for chunk, part in parts:
        width = part.words.shape[1]
        words[chunk, :width] = part.words.float().cpu()
        mask[chunk, :width] = part.mask.cpu()
        sentence[chunk] = part.sentence.float().cpu()
    return TextEmbeddings(words, mask, sentence)
