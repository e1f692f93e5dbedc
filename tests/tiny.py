"""A random three-layer CLIP, adapters with an effect, and the features of a task, all synthetic."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import CLIPConfig, CLIPModel

from structalign.learning.etf import etf_head_init, simplex_etf
from structalign.learning.init_task import from_checkpoint
from structalign.learning.loading import load_method
from structalign.learning.memory import Memory, empty_memory
from structalign.learning.settings import Settings
from structalign.learning.trainer import Trainer
from structalign.model.backbone import Clip, Tokens
from structalign.model.checkpoint import CheckpointConfig, save_checkpoint
from structalign.model.features import (
    CENTRE,
    Captions,
    Features,
    view_name,
    write_captions,
    write_index,
    write_view,
)
from structalign.model.sources import make_source
from structalign.model.video_text import ModelConfig, VideoText
from structalign.params.adapters import Adapters
from structalign.params.backbone import Backbone
from structalign.params.losses import Contrastive, Crp, Etf, LossSection, Pseudo, RandomNegatives
from structalign.params.optim import Phase, Shared

LAYERS, WIDTH, DIM, IMAGE, PATCHES, FRAMES, ETF_DIM = 3, 32, 24, 32, 4, 3, 20
BOS, EOT = 38, 39
CPU = torch.device("cpu")


def tiny_clip(attention: str = "eager") -> Clip:
    """A random CLIP with equal weights at every call."""
    tower = {"hidden_size": WIDTH, "intermediate_size": 40, "num_hidden_layers": LAYERS, "num_attention_heads": 4}
    text = {"vocab_size": 40, "max_position_embeddings": 12, "bos_token_id": BOS, "eos_token_id": EOT}
    config = CLIPConfig(
        text_config={**tower, **text, "pad_token_id": EOT},
        vision_config={**tower, "image_size": IMAGE, "patch_size": 16},
        projection_dim=DIM,
    )
    config._attn_implementation = attention
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Clip(CLIPModel(config))


def tiny_model(
    tasks: int = 1, frozen: int = 1, experts: int = 3, dropout: float = 0.0, words: str = "strict"
) -> VideoText:
    """OnlineCrops adapters after `tasks` task prototypes, in eval mode."""
    config = ModelConfig(FRAMES, frozen, 2, 8.0, experts, dropout, ETF_DIM, words=words)
    model = VideoText(tiny_clip(), config, seed=0)
    for task in range(tasks):
        model.add_task_prototype("tiny", task)
    with torch.no_grad():
        model.head.weight.copy_(etf_head_init(ETF_DIM, DIM, 0))
    return model.eval()


def shaken(model: VideoText, seed: int = 0, size: float = 0.2) -> VideoText:
    """The same model with noise on every adapter parameter, so that no parameter is at its initial value."""
    source = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameters in model.groups().values():
            for p in parameters:
                p.add_(torch.randn(p.shape, generator=source) * size)
    return model


def tokens(*captions: Sequence[int], pad: int = 0) -> Tokens:
    """Captions given as word ids, with start and end, padded with the end id, `pad` columns more than needed."""
    length = max(map(len, captions)) + 2 + pad
    rows = [[BOS, *words, EOT] for words in captions]
    ids = torch.tensor([row + [EOT] * (length - len(row)) for row in rows])
    return Tokens(ids, torch.tensor([len(words) + 1 for words in captions]))


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def write_features(folder: Path, videos: int = 6, each: int = 2, views: int = 2, first: int = 0) -> Features:
    """Training features of two categories, `first` and the next; `each` captions a video of two to four words."""
    folder.mkdir(parents=True)
    for index, view in enumerate((CENTRE, *map(view_name, range(views)))):
        states = [noise(FRAMES, 1 + PATCHES, WIDTH, seed=1000 * first + 100 * index + v) for v in range(videos)]
        frames = [noise(FRAMES, DIM, seed=1000 * first + 100 * index + 50 + v) for v in range(videos)]
        write_view(folder, view, states, frames)
    source = torch.Generator().manual_seed(first)
    rows = [torch.randint(38, (2 + i % 3,), generator=source).tolist() for i in range(videos * each)]
    video = torch.arange(videos).repeat_interleave(each)
    write_captions(folder, Captions(tokens(*rows), video, first + video % 2))
    write_index(folder, [{"id": f"{first}-{v}"} for v in range(videos)], views, 0)
    return Features(folder)


def fresh_memory() -> Memory:
    return empty_memory(simplex_etf(ETF_DIM, 6, seed=0), DIM)


LOSSES = (
    Contrastive(scale=17.6, logit_adjustment=0, sentence_weight=0, mask_duplicates=True),
    Etf(dim=ETF_DIM, capacity=6, weight=0.1, vertices="exact", head="shared", seed=0),
    Crp(weight=10, temperature=2, teacher="previous"),
    Pseudo(weight=0.5, covariance="radius", mask_same_category=False),
    RandomNegatives(weight=1),
)


def settings(
    task: int, epochs: int = 2, batch: int = 3, lr: float = 1e-2, warmup: float = 0.0, epoch: str = "videos"
) -> Settings:
    return Settings(
        seed=0,
        backbone=Backbone(name="tiny", vision_frozen=1, precision="fp32"),
        adapters=Adapters(rank=2, alpha=8, experts=3, dropout=0.1, fusion_init="identity", words="strict"),
        losses=tuple(section for section in LOSSES if section.since <= task),
        shared=Shared.model_validate(
            {"batch": batch, "epoch": epoch, "sampling": "uniform", "weight_decay": 0.5, "clip": 1}
        ),
        phase=Phase(epochs=epochs, lr=lr, alpha_lr=lr, head_lr=lr, tower_lr=lr, warmup=warmup),
    )


def turned(act: Settings, kind: type[LossSection], **values: object) -> Settings:
    """The same settings with other values in one loss section."""
    return replace(act, losses=tuple(x.model_copy(update=values) if isinstance(x, kind) else x for x in act.losses))


class NoiseFrames:
    """Decoded frames of a task's split, with different noise for each video."""

    def __init__(self, number: int):
        self.number = number

    def frames(self, position: int) -> NDArray[np.uint8]:
        source = np.random.default_rng((self.number, position))
        return source.integers(0, 256, (FRAMES, IMAGE + 4, IMAGE + 8, 3), dtype=np.uint8)


def begin_task(folder: Path, method: str, number: int, act: Settings | None = None) -> Trainer:
    """Begin task `number` as the train stage does, from the checkpoint `folder`/<number - 1>."""
    if number == 1 and not (folder / "0").exists():
        (folder / "0").mkdir(parents=True)
        save_checkpoint(folder / "0", CheckpointConfig("tiny"), {}, {})
    held, chosen, act = folder / f"features{number}", load_method(method), act or settings(number)
    features = Features(held) if held.exists() else write_features(held, first=2 * (number - 1))
    model, memory = from_checkpoint(tiny_clip(), folder / str(number - 1), chosen, act, number, FRAMES)
    statistics = torch.full((3, 1, 1), 0.5), torch.full((3, 1, 1), 0.25)
    videos = make_source(model, features, NoiseFrames(number), statistics, CPU)
    return Trainer(model, chosen, videos, memory, number, act, CPU)


def finish_task(folder: Path, trainer: Trainer) -> Trainer:
    """Train, and save the checkpoint `folder`/<number>."""
    trainer.fit(lambda row: None)
    out, number = folder / str(trainer.number), trainer.number
    out.mkdir()
    tasks, similarity = [f"t{task:02d}" for task in range(1, number + 1)], trainer.method.similarity
    config = CheckpointConfig("tiny", "tiny", tasks=tasks, model=trainer.model.config, similarity=similarity)
    save_checkpoint(out, config, trainer.model.adapter_state(), trainer.remember(2).tensors())
    return trainer


def second_task_of(folder: Path, method: str, act: Settings | None = None) -> Trainer:
    """Task 2 before its training, after a first task with a checkpoint."""
    finish_task(folder, begin_task(folder, method, 1))
    return begin_task(folder, method, 2, act)
