"""Adapters: frame fusion in the vision tower, a task-aware LoRA mixture in the text tower, and the ETF head.

See method, section 2. The first two wrap a frozen module, start as the identity, and are visible in `print(model)`.
Letters: B videos, N frames, T tokens of a frame, R captions, L tokens of a caption, W width, E experts, r rank.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from structalign.model.backbone import class_token, multi_head_attention
from structalign.seeds import seed_of


def generator(*key: str | int) -> torch.Generator:
    """A CPU generator for one named random tensor or order."""
    return torch.Generator().manual_seed(seed_of(*key))


def identity_linear(width: int) -> nn.Linear:
    """A linear layer that starts as the identity, with a zero bias."""
    linear = nn.Linear(width, width)
    nn.init.eye_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear


class FrameFusionAttention(nn.Module):
    """`(1 - alpha) * SelfAttn(h) + alpha * Cross(h)`: frame n attends with queries of a neighbouring frame.

    Keys and values come from frame n. Queries come from the same positions of frame n - 1 in even layers, and of frame
    n + 1 in odd layers. A frame without that neighbour uses itself.
    """

    def __init__(self, attention: nn.Module, layer: int, frames: int):
        super().__init__()
        self.attention = attention
        self.layer = layer
        self.frames = frames
        self.enabled = True
        width = cast(int, attention.embed_dim)
        self.heads = cast(int, attention.num_heads)
        self.alpha = nn.Parameter(torch.zeros(1))
        self.q_proj = identity_linear(width)
        self.k_proj = identity_linear(width)
        self.v_proj = identity_linear(width)
        self.out_proj = identity_linear(width)

    def initialise_uniformly(self, *key: str | int) -> None:
        """Projections ~ U(-1/sqrt(W), 1/sqrt(W)) with zero biases, as the released code has them, seeded by `key`."""
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            weight = getattr(self, name).weight
            bound = weight.shape[1] ** -0.5
            with torch.no_grad():
                weight.uniform_(-bound, bound, generator=generator(*key, name))

    def forward(
        self, hidden_states: Tensor, attention_mask: Tensor | None = None, **kwargs: object
    ) -> tuple[Tensor, Tensor | None]:
        """hidden_states: [B * N, T, W], frames of a video next to each other."""
        own, weights = self.attention(hidden_states=hidden_states, attention_mask=attention_mask, **kwargs)
        return self._fused(own, hidden_states, hidden_states), weights

    def class_token(self, hidden: Tensor) -> Tensor:
        """[B * N, T, W] -> [B * N, 1, W], what `forward` gives of the class token."""
        return self._fused(class_token(self.attention, hidden), hidden[:, :1].contiguous(), hidden)

    def _fused(self, own: Tensor, asking: Tensor, hidden: Tensor) -> Tensor:
        """`own`, fused with the cross attention of the queries `asking` [B * N, T', W] to `hidden`."""
        if not self.enabled:
            return own
        queries = self._neighbour(self.q_proj(asking))
        mixed = multi_head_attention(queries, self.k_proj(hidden), self.v_proj(hidden), self.heads)
        fused: Tensor = own + self.alpha * (self.out_proj(mixed) - own)
        return fused

    def _neighbour(self, x: Tensor) -> Tensor:
        video = x.view(-1, self.frames, *x.shape[1:])
        if self.layer % 2 == 0:
            shifted = torch.cat([video[:, :1], video[:, :-1]], dim=1)
        else:
            shifted = torch.cat([video[:, 1:], video[:, -1:]], dim=1)
        return shifted.flatten(0, 1)


Known = Literal["first", "later", "mixed"]  # all tasks are 1; no task is 1; unknown


def known_of(tasks: Tensor) -> Known:
    """The `Known` value of tasks [R] on the CPU."""
    first = tasks == 1
    if bool(first.all()):
        return "first"
    return "mixed" if bool(first.any()) else "later"


class Routing:
    """The task that each caption of the next pass is routed as. All mixtures of a tower share one object.

    It is set before the tower runs and stays until the next pass, so a recomputed forward pass sees the same. Values
    for all layers are computed once. `noise` returns standard normals in the shape of its argument, the router logits
    [R, E].
    """

    def __init__(self) -> None:
        self.noise: Callable[[Tensor], Tensor] = torch.randn_like
        self.set(torch.ones(1, dtype=torch.int64), torch.zeros(1, dtype=torch.int64), torch.zeros(1, 1), "first")

    def set(self, tasks: Tensor, eot: Tensor, prototypes: Tensor, known: Known = "mixed") -> None:
        """tasks: [R], from 1. eot: [R]. prototypes: [R, W], the task prototype of each row.

        known: what is known about the tasks without reading them.
        """
        self.tasks, self.eot, self.prototypes, self.known = tasks, eot, prototypes, known
        self.rows = torch.arange(len(eot), device=eot.device)
        self._first: Tensor | None = None

    def first_gates(self, experts: int, dtype: torch.dtype) -> Tensor:
        """[R, E] gates of captions of task 1: the first expert's is one."""
        if self._first is None or self._first.shape[1] != experts or self._first.dtype != dtype:
            self._first = torch.zeros(len(self.tasks), experts, dtype=dtype, device=self.tasks.device)
            self._first[:, 0] = 1
        return self._first


def noisy(logits: Tensor, spread: Tensor, noise: Tensor) -> Tensor:
    """Router logits [R, E] and `noise`, standard normals, times softplus(spread) + 0.01."""
    return logits + noise * (F.softplus(spread) + 0.01)


def top_two(logits: Tensor) -> Tensor:
    """[R, E] -> [R, E]: softmax over the two largest of each row, zeros elsewhere."""
    top = logits.topk(2, dim=-1)
    return torch.zeros_like(logits).scatter(1, top.indices, top.values.softmax(dim=-1))


def mixture_gates(
    rho: Tensor, router: Tensor, w_noise: Tensor | None = None, noise: Callable[[Tensor], Tensor] | None = None
) -> Tensor:
    """Gates [R, E] of captions routed as a later task: softmax over the two largest logits of R rho, zeros elsewhere.

    rho: [R, W], x[eot] + u_p; router and w_noise: [E, W]. With `noise`, which gives standard normals like the logits
    [R, E], they are those of a training step.
    """
    logits = F.linear(rho, router)
    if noise is not None and w_noise is not None:
        logits = noisy(logits, F.linear(rho, w_noise), noise(logits))
    return top_two(logits)


class Experts(nn.Module, ABC):
    """A wrapper that adds a weighted sum of experts to a module, and records which experts a step used.

    `(a / r) * sum_e g_e ...` of `experts` experts of rank r, with dropout before them. The gates g follow the tower's
    `routing`.
    """

    def __init__(self, routing: Routing, experts: int, rank: int, alpha: float, dropout: float):
        super().__init__()
        self.routing = [routing]  # a list, so that it is no sub-module and is shared by a tower
        self.scale = alpha / rank
        self.dropout = nn.Dropout(dropout)
        self.enabled = True
        self.used = torch.zeros(experts, dtype=torch.bool)

    @abstractmethod
    def expert(self, number: int) -> list[nn.Parameter]:
        """The parameters of this expert."""

    def mark_used(self, gates: Tensor) -> None:
        """Record the experts that gates [R, E] have chosen as used in this step."""
        self.used = self.used.to(gates.device)
        # in place, since a recorded pass (`learning.cuda_graphs`) also writes here
        self.used |= gates.any(dim=0)

    def forget_used(self) -> None:
        """Begin a step: no expert is used yet."""
        self.used.zero_()

    def drop_gradients(self, used: Sequence[bool]) -> None:
        """Drop the gradients of unused experts, so that neither momentum nor decay changes them."""
        for number, chosen in enumerate(used):
            if not chosen:
                for parameter in self.expert(number):
                    parameter.grad = None


def share_used(modules: Sequence[Experts], device: torch.device) -> Tensor:
    """One tensor [M, E] for the records of all modules, so that a step clears and reads it at once."""
    used = torch.zeros(len(modules), len(modules[0].used) if modules else 0, dtype=torch.bool, device=device)
    for module, row in zip(modules, used, strict=True):
        module.used = row
    return used


class Stacked(ABC):
    """A module whose passes need parameters of its experts or tasks stacked, the last ones multiplied by `scale`."""

    scale: float
    held: tuple[Tensor, ...] | None = None

    @abstractmethod
    def parts(self) -> tuple[Sequence[Tensor], ...]:
        """Lists of parameters. Those of a list have one shape."""

    def stacked(self) -> tuple[Tensor, ...]:
        """The stacked parameters. Inside `stacked_once` they are stacked once, otherwise in every pass."""
        held = self.held  # read once, since another thread may end its block
        return stack([self])[0] if held is None else held


def stack(modules: Sequence[Stacked]) -> list[tuple[Tensor, ...]]:
    """The stacked parameters of each module, by one operation for all modules. They have equal shapes and scales."""
    kinds = zip(*(module.parts() for module in modules), strict=True)
    *others, last = [torch.stack([p for own in kind for p in own]) for kind in kinds]
    stacks = [*others, last * modules[0].scale]
    split = [x.view(len(modules), -1, *x.shape[1:]).unbind() for x in stacks]
    return list(zip(*split, strict=True))


@contextmanager
def stacked_once(modules: Sequence[Stacked]) -> Iterator[None]:
    """A block in which the parameters of all modules are stacked once. None of them may change in it."""
    if not modules or modules[0].held is not None:
        yield
        return
    for module, own in zip(modules, stack(modules), strict=True):
        module.held = own
    try:
        yield
    finally:
        for module in modules:
            module.held = None


class LoraMixture(Experts, Stacked):
    """`y = Wx + b + (a / r) * sum_e g_e B_e A x` around a frozen linear layer.

    Routed as task 1, g is one-hot on expert 0. Routed as a later task p, g is the softmax over the two largest of
    R (x[eot] + u_p), the same for all tokens of a caption; training adds noise to these logits.
    """

    def __init__(self, linear: nn.Linear, routing: Routing, rank: int, alpha: float, experts: int, dropout: float):
        super().__init__(routing, experts, rank, alpha, dropout)
        self.linear = linear
        self.lora_A = nn.Parameter(torch.empty(rank, linear.in_features))
        self.lora_Bs = nn.ParameterList(torch.zeros(linear.out_features, rank) for _ in range(experts))
        self.router = nn.Parameter(torch.empty(experts, linear.in_features))
        self.w_noise = nn.Parameter(torch.zeros(experts, linear.in_features))

    def initialise(self, *key: str | int) -> None:
        """A and R ~ U(-1/sqrt(W), 1/sqrt(W)), seeded by `key`; B and W_noise are zero."""
        bound = self.linear.in_features**-0.5
        with torch.no_grad():
            self.lora_A.uniform_(-bound, bound, generator=generator(*key, "A"))
            self.router.uniform_(-bound, bound, generator=generator(*key, "router"))

    def gates(self, x: Tensor) -> Tensor:
        """[R, L, W] -> [R, E], non-negative, rows sum to one, at most two entries are not zero."""
        routing = self.routing[0]
        if routing.known == "first":
            return routing.first_gates(len(self.lora_Bs), x.dtype)
        routed = mixture_gates(
            self.router_input(x), self.router, self.w_noise, routing.noise if self.training else None
        )
        if routing.known == "later":
            return routed
        return torch.where((routing.tasks == 1)[:, None], routing.first_gates(len(self.lora_Bs), x.dtype), routed)

    def router_input(self, x: Tensor) -> Tensor:
        """[R, L, W] -> [R, W], rho = x[eot] + u_p."""
        routing = self.routing[0]
        return x[routing.rows, routing.eot] + routing.prototypes

    def forward(self, x: Tensor) -> Tensor:
        base: Tensor = self.linear(x)
        if not self.enabled:
            return base
        gates = self.gates(x)
        if self.training:
            self.mark_used(gates)
        low = F.linear(self.dropout(x), self.lora_A)
        (experts,) = self.stacked()
        mixed = torch.einsum("qe,eor->qor", gates, experts)
        return base + torch.einsum("qlr,qor->qlo", low, mixed)

    def parts(self) -> tuple[Sequence[Tensor]]:
        """All B_e."""
        return (list(self.lora_Bs),)

    def expert(self, number: int) -> list[nn.Parameter]:
        return [self.lora_Bs[number]]

    def spread_first_expert(self) -> None:
        """Copy B_0 into every expert, at the start of task 2."""
        with torch.no_grad():
            for expert in self.lora_Bs[1:]:
                expert.copy_(self.lora_Bs[0])


class EtfHead(nn.Module):
    """The map h of words and frames into ETF space, R^D -> R^d without bias (method, section 5).

    `fixed` and `shared`: one map for both. `separate` and `frozen_random`: one map each (`weight` is the text's).
    `fixed` and `frozen_random` never learn, so L_ETF must change the embeddings.
    """

    def __init__(self, embedding: int, dim: int, kind: str):
        super().__init__()
        self.kind = kind
        self.weight = nn.Parameter(torch.zeros(dim, embedding))
        two = kind in ("separate", "frozen_random")
        self.video_weight = nn.Parameter(torch.zeros(dim, embedding)) if two else None

    @property
    def learns(self) -> bool:
        """Whether training changes the map."""
        return self.kind in ("shared", "separate")

    @property
    def weight_of_video(self) -> Tensor:
        """[d, D], the map of frames: `weight` if text and video share it."""
        return self.weight if self.video_weight is None else self.video_weight

    def text(self, x: Tensor) -> Tensor:
        """[..., D] -> [..., d] of a caption's vector or of a pseudo-feature."""
        return F.linear(x, self.weight)

    def video(self, x: Tensor) -> Tensor:
        """[..., D] -> [..., d] of a video's vector or of a pseudo-feature."""
        return F.linear(x, self.weight_of_video)
