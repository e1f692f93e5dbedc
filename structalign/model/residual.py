"""Residual linear maps over frozen embeddings: what `head_only` trains instead of adapters in the towers."""

from torch import Tensor, nn


class ResidualMap(nn.Module):
    """`x + W x` over the last dimension, the identity at start."""

    def __init__(self, dim: int):
        super().__init__()
        self.linear = nn.Linear(dim, dim, bias=False)
        nn.init.zeros_(self.linear.weight)
        self.enabled = True

    def forward(self, x: Tensor) -> Tensor:
        """[..., D] -> [..., D]."""
        if not self.enabled:
            return x
        mapped: Tensor = x + self.linear(x)
        return mapped
