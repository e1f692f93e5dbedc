"""Text-conditioned pooling of frames (X-Pool: Gorti et al., CVPR 2022, arXiv 2203.15086).

Letters: Q sentences, V videos, N frames, D embedding.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from structalign.model.adapters import identity_linear

DROPOUT = 0.3  # as published
BLOCK = 1 << 22  # pooled values held at a time; intermediates take a few times as much


class TextPool(nn.Module):
    """Pools a video's frames by a sentence: r = LN(softmax(q K^T / sqrt(D)) V W_o), pooled = LN(r + FC(r)).

    q, K and V are projections of the layer-normed sentence and frames. FC starts at zero and all other maps as the
    identity, so before training this is attention of the raw embeddings.
    """

    def __init__(self, dim: int):
        super().__init__()
        self.norm_in, self.norm_attended, self.norm_out = nn.LayerNorm(dim), nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.q_proj, self.k_proj, self.v_proj = (identity_linear(dim) for _ in range(3))
        self.out_proj = identity_linear(dim)
        self.fc = identity_linear(dim)
        nn.init.zeros_(self.fc.weight)
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, sentences: Tensor, frames: Tensor) -> Tensor:
        """[Q, D] and [V, N, D] raw embeddings -> [Q, V, D] videos, pooled for each sentence.

        Frames are first normalised, like stored frames, so that training and search give the same scores.
        """
        query, seen = self.q_proj(self.norm_in(sentences)), self.norm_in(F.normalize(frames, dim=-1))
        weights = torch.einsum("qd,vnd->qvn", query, self.k_proj(seen)) * sentences.shape[1] ** -0.5
        attended = torch.einsum("qvn,vnd->qvd", weights.softmax(dim=2), self.v_proj(seen))
        r = self.norm_attended(self.out_proj(attended))
        pooled: Tensor = self.norm_out(r + self.dropout(self.fc(r)))
        return pooled

    def similarity(self, sentences: Tensor, frames: Tensor) -> Tensor:
        """[Q, V] cosine of each sentence and its own pooling of each video, in blocks of bounded memory."""
        rows = max(1, BLOCK // (len(frames) * frames.shape[2]))
        blocks = [
            torch.einsum("qd,qvd->qv", F.normalize(part, dim=-1), F.normalize(self(part, frames), dim=-1))
            for part in torch.split(sentences, rows)
        ]
        return torch.cat(blocks)
