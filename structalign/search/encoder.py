"""Encode captions and videos with a checkpoint and with zero-shot CLIP."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from structalign.console import track
from structalign.errors import UserError
from structalign.model.backbone import Clip, Tokens, load_clip
from structalign.model.checkpoint import CheckpointConfig, build_model
from structalign.model.features import VideoSource
from structalign.model.text_encoding import encode_as_tasks, encode_captions, encode_zero_shot
from structalign.model.video_text import TextEmbeddings, VideoText
from structalign.search.similarity_heads import HEADS, SimilarityHead


@dataclass(frozen=True)
class Encoder:
    """The encoder of a checkpoint. `model` is None if the checkpoint has no adapters. Then zero-shot CLIP encodes."""

    clip: Clip
    model: VideoText | None
    head: SimilarityHead
    device: torch.device

    def captions(self, tokens: Tokens, task: int) -> TextEmbeddings:
        """Captions encoded as task `task` (from 1): words [R, L, D] on the CPU."""
        if self.model is None:
            return self.zero_shot(tokens)
        return encode_captions(self.model, tokens, task, self.device)

    def zero_shot(self, tokens: Tokens) -> TextEmbeddings:
        """Captions by zero-shot CLIP: words [R, L, D] on the CPU."""
        return encode_zero_shot(self.clip, self.model, tokens, self.device)

    def as_each(self, tokens: Tokens, tasks: Sequence[int], zero_shot: TextEmbeddings) -> list[TextEmbeddings]:
        """`captions` for each of `tasks`, encoded only once if tasks do not matter. `zero_shot`: the same captions."""
        return [zero_shot] * len(tasks) if self.model is None else self.as_tasks(tokens, tasks)

    def as_tasks(self, tokens: Tokens, tasks: Sequence[int]) -> list[TextEmbeddings]:
        """Like `as_each`, for a model with adapters."""
        assert self.model is not None
        if not self.model.routed:
            return [self.captions(tokens, tasks[0])] * len(tasks)
        return encode_as_tasks(self.model, tokens, tasks, self.device)

    def videos(self, videos: VideoSource, label: str) -> Tensor:
        """[V, N, D] raw frame embeddings, one video at a time, so that they do not depend on other videos."""
        assert self.model is not None
        return torch.cat([
            self.model.encode_frames(videos.read(i).to(self.device)[None]).cpu()
            for i in track(range(len(videos)), label)
        ])  # fmt: skip


def load_encoder(checkpoint: Path, config: CheckpointConfig, backbone: Path, device: torch.device) -> Encoder:
    """The encoder of a checkpoint folder with its `config` and the CLIP in `backbone`."""
    if config.similarity not in HEADS:
        raise UserError(
            f"{checkpoint / 'config.json'}: `similarity` = {config.similarity!r} must be {' or '.join(HEADS)}: name a "
            "folder that `dvc repro` wrote."
        )
    clip = load_clip(backbone, device)
    model = build_model(clip, config, checkpoint)
    (clip if model is None else model).to(device)
    return Encoder(clip, model, HEADS[config.similarity], device)
