"""Mixture-of-experts adapters beside the MLPs of both towers (Yu et al., CVPR 2024, arXiv 2403.11549).

Each task has a router. Experts are shared, and those that a task used most are frozen after it.
Letters: R sequences (captions or frames), L their tokens, W width, E experts, r rank.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from structalign.model.adapters import Experts, Routing, generator, noisy, top_two

FREEZE = 2  # experts frozen after a task: as many as a token uses


class MoeMlp(Experts):
    """`MLP(x) + (a / r) * sum_e g_e B_e A_e x` around a frozen MLP, where g selects the two best of R_p x[summary].

    R_p is task p's router, and x[summary] the class or end-of-text token. g is the same for all tokens of a sequence.
    """

    chosen: Tensor
    frozen: Tensor

    def __init__(
        self, mlp: nn.Module, routing: Routing, width: int, rank: int, alpha: float, experts: int, dropout: float
    ):
        super().__init__(routing, experts, rank, alpha, dropout)
        self.mlp = mlp
        self.lora_As = nn.ParameterList(torch.zeros(rank, width) for _ in range(experts))
        self.lora_Bs = nn.ParameterList(torch.zeros(width, rank) for _ in range(experts))
        self.routers = nn.ParameterList()
        self.w_noises = nn.ParameterList()
        self.register_buffer("chosen", torch.zeros(experts, dtype=torch.int64))  # sequences of the task, by expert
        self.register_buffer("frozen", torch.zeros(experts, dtype=torch.bool))

    def initialise(self, *key: str | int) -> None:
        """A_e ~ U(-1/sqrt(W), 1/sqrt(W)), seeded by `key`. B_e are zero, so the adapter starts as the identity."""
        with torch.no_grad():
            for number, expert in enumerate(self.lora_As):
                bound = expert.shape[1] ** -0.5
                expert.uniform_(-bound, bound, generator=generator(*key, "A", number))

    def add_router(self, *key: str | int) -> None:
        """Append the router of the next task, seeded by `key`, and reset the counts of choices."""
        experts, width = len(self.lora_As), self.lora_As[0].shape[1]
        bound = width**-0.5
        start = torch.rand(experts, width, generator=generator(*key)) * 2 * bound - bound
        device = self.chosen.device
        self.routers.append(nn.Parameter(start.to(device)))
        self.w_noises.append(nn.Parameter(torch.zeros(experts, width, device=device)))
        self.chosen.zero_()

    def gates(self, x: Tensor) -> Tensor:
        """[R, L, W] -> [R, E], non-negative, rows sum to one, at most two entries are not zero."""
        routing = self.routing[0]
        summary, own = x[routing.rows, routing.eot], routing.tasks - 1
        logits = torch.einsum("rew,rw->re", torch.stack(list(self.routers))[own], summary)
        if self.training:
            spread = torch.einsum("rew,rw->re", torch.stack(list(self.w_noises))[own], summary)
            logits = noisy(logits, spread, routing.noise(logits))
        return top_two(logits)

    def forward(self, hidden_states: Tensor) -> Tensor:
        """hidden_states: [R, L, W]."""
        base: Tensor = self.mlp(hidden_states)
        if not self.enabled:
            return base
        gates = self.gates(hidden_states)
        if self.training:
            self.mark_used(gates)
            self.chosen += (gates > 0).sum(dim=0)
        low = F.linear(self.dropout(hidden_states), torch.cat(list(self.lora_As)))
        weighted = low * gates.repeat_interleave(len(self.lora_As[0]), dim=1)[:, None].to(low.dtype)
        return base + self.scale * F.linear(weighted, torch.cat(list(self.lora_Bs), dim=1))

    def expert(self, number: int) -> list[nn.Parameter]:
        return [self.lora_As[number], self.lora_Bs[number]]

    def freeze_most_used(self) -> None:
        """Freeze the experts that the task chose most often. Frozen experts stay frozen."""
        self.frozen[self.chosen.topk(min(FREEZE, len(self.chosen))).indices] = True

    def learning_experts(self) -> list[nn.Parameter]:
        """A_e and B_e of the experts that are not frozen."""
        open_ = (~self.frozen).nonzero()[:, 0].tolist()
        return [p for experts in (self.lora_As, self.lora_Bs) for p in (experts[e] for e in open_)]
