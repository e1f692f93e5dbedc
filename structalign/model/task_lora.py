"""Low-rank adapters, one per task. A task's adapters do not change after the task.

Letters: R captions, L tokens of a caption, W width, O output width, r rank, T tasks.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from structalign.model.adapters import Routing, Stacked, generator


class TaskLora(nn.Module, Stacked):
    """`y = Wx + b + (a / r) B_p A_p x` around a frozen linear layer, p the task that a caption is routed as."""

    def __init__(self, linear: nn.Linear, routing: Routing, rank: int, alpha: float, dropout: float):
        super().__init__()
        self.linear = linear
        self.routing = [routing]  # a list, so that it is not a sub-module; a tower shares it
        self.rank = rank
        self.scale = alpha / rank
        self.dropout = nn.Dropout(dropout)
        self.enabled = True
        self.lora_As = nn.ParameterList()
        self.lora_Bs = nn.ParameterList()

    def add_task(self, *key: str | int) -> None:
        """Append the adapter of the next task: A ~ U(-1/sqrt(W), 1/sqrt(W)), seeded by `key`, and B = 0.

        So it starts without effect.
        """
        width, bound = self.linear.in_features, self.linear.in_features**-0.5
        start = torch.empty(self.rank, width).uniform_(-bound, bound, generator=generator(*key))
        device = self.linear.weight.device
        self.lora_As.append(nn.Parameter(start.to(device)))
        self.lora_Bs.append(nn.Parameter(torch.zeros(self.linear.out_features, self.rank, device=device)))

    def adapter(self, task: int) -> list[nn.Parameter]:
        """A and B of `task`, from 1."""
        return [self.lora_As[task - 1], self.lora_Bs[task - 1]]

    def forward(self, x: Tensor) -> Tensor:
        """[R, L, W] -> [R, L, O]."""
        base: Tensor = self.linear(x)
        if not self.enabled:
            return base
        own = self.routing[0].tasks - 1
        down, up = self.stacked()
        low = torch.einsum("qlw,qrw->qlr", self.dropout(x), down[own])
        return base + torch.einsum("qlr,qor->qlo", low, up[own])

    def parts(self) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        """All A_p and all B_p."""
        return list(self.lora_As), list(self.lora_Bs)
