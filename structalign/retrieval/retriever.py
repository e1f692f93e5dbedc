"""`structalign.load(checkpoint)`: a model that encodes texts and videos and scores them, from any folder."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from structalign.data.pretrained import resolve
from structalign.data.video import BrokenVideo, decode
from structalign.errors import UserError
from structalign.model.backbone import Clip, Tokeniser, load_clip, pixel_statistics
from structalign.model.checkpoint import Config, build_model, load_memory, read_config
from structalign.model.device import prepare_device
from structalign.model.queries import encode_frozen, encode_queries
from structalign.model.video_text import TextEmbeddings, VideoText
from structalign.model.views import normalised_view
from structalign.retrieval.comparison import COMPARISONS
from structalign.retrieval.gallery import score
from structalign.retrieval.prior import TaskPrior, task_prior

SECONDS_PER_VIDEO = 60.0
FROZEN_FRAMES = 8  # what a checkpoint without adapters samples: frozen CLIP has no number of its own


@dataclass(frozen=True)
class Retriever:
    """A checkpoint, ready to use. `clip` alone answers where the checkpoint has no adapters."""

    config: Config
    clip: Clip
    model: VideoText | None
    prior: TaskPrior | None
    tokeniser: Tokeniser
    pixels: tuple[Tensor, Tensor]
    device: torch.device

    @property
    def frames(self) -> int:
        """Frames N that a video is sampled at."""
        return self.model.shape.frames if self.model is not None else FROZEN_FRAMES

    def encode_text(self, texts: Sequence[str], task: int | None = None) -> TextEmbeddings:
        """Words [R, L, D], mask [R, L] and sentences [R, D]; `task` (1-based, the newest if None) routes them.

        Raises `UserError` where `texts` is no list of sentences, or the task was not learned.
        """
        if not texts or isinstance(texts, str):
            raise UserError(f"{texts!r} is no list of sentences to encode: give at least one, as ['a bunny hops'].")
        learned = len(self.config.tasks)
        if task is not None and not 1 <= task <= learned:
            raise UserError(f"task {task} was not learned: this checkpoint has tasks 1 to {learned}.")
        tokens = self.tokeniser(list(texts))
        if self.model is None:
            return encode_frozen(self.clip, None, tokens, self.device)
        return encode_queries(self.model, tokens, task or learned, self.device)

    @torch.inference_mode()
    def log_task_prior(self, texts: Sequence[str]) -> Tensor | None:
        """log p(task | text) [R, T], tasks in their order; None where the method has no task prior."""
        if self.prior is None:
            return None
        return self.prior.log(encode_frozen(self.clip, self.model, self.tokeniser(list(texts)), self.device))

    @torch.inference_mode()
    def encode_video(self, video: str | Path | NDArray[np.uint8]) -> Tensor:
        """[N, D] raw frame embeddings of a video or image file, or of uint8 frames [N', H, W, 3].

        Raises `UserError` where the file cannot be decoded, or the frames are none.
        """
        if isinstance(video, (str, Path)):
            try:
                video = decode(Path(video), self.frames, self.clip.image_size, timeout=SECONDS_PER_VIDEO).frames
            except BrokenVideo as reason:
                raise UserError(f"{video} cannot be encoded: {reason}.") from None
        if video.dtype != np.uint8 or video.ndim != 4 or video.shape[-1] != 3 or not len(video):
            what = f"{video.dtype} of shape {list(video.shape)}"
            raise UserError(f"an array of {what} is no video: give uint8 [frames, height, width, 3].")
        chosen = ((np.arange(self.frames) + 0.5) / self.frames * len(video)).astype(int)
        mean, std = (x.to(self.device) for x in self.pixels)
        pixels = normalised_view(video[chosen], self.clip.image_size, (mean, std))
        if self.model is None:
            return self.clip.vision_suffix(self.clip.vision_prefix(pixels, 0), 0).cpu()
        return self.model.encode_frames(self.model.inputs(pixels)[None])[0].cpu()

    @torch.inference_mode()
    def compare(self, text: TextEmbeddings, frames: Tensor) -> dict[str, Tensor]:
        """The method's similarities and `best_frame`, each [texts, videos]; frames: [V, M, D] raw or as stored."""
        return score(text, frames, COMPARISONS[self.config.comparison], self.model)

    def score(
        self, texts: Sequence[str], videos: Sequence[str | Path | NDArray[np.uint8]], task: int | None = None
    ) -> Tensor:
        """[texts, videos]: the mean of word-frame and sentence-video similarity, or the method's one cosine.

        The ranking of a gallery standardises both over its videos first (method, section 3) and knows the task of each
        video; a score of one pair has no gallery and no task, so here they are averaged as they are.
        """
        if not len(videos) or isinstance(videos, (str, Path)):
            raise UserError(f"{videos!r} is no list of videos: give at least one, as ['clip.mp4'].")
        frames = torch.stack([self.encode_video(video) for video in videos])
        found = self.compare(self.encode_text(texts, task), frames)
        return (found.get("words", found["sentence"]) + found["sentence"]) / 2


def load(checkpoint: str | Path, backbone: str | Path | None = None) -> Retriever:
    """Load a checkpoint folder. Its backbone is `backbone` (a folder or a name on the hub) if given, else the copy
    that the pipeline keeps beside the checkpoints, else the name in its config.

    Raises `UserError` where the folder is no checkpoint or the backbone cannot be found.
    """
    folder = Path(checkpoint)
    config = read_config(folder)
    source = _backbone(folder.resolve().parents[1], config.backbone) if backbone is None else resolve(str(backbone))
    device = prepare_device()
    clip = load_clip(source, device)
    model = build_model(clip, config, folder)
    (clip if model is None else model).to(device)
    prior = task_prior(load_memory(folder))
    return Retriever(config, clip, model, prior, Tokeniser(source), pixel_statistics(source), device)


def _backbone(project: Path, name: str) -> Path:
    """The pipeline's copy, if it is of the backbone `name`; else the folder of that name in the project, or the hub."""
    first = project / "checkpoints" / "t00"
    if (project / "work" / "backbone").exists() and first.exists() and read_config(first).backbone == name:
        return project / "work" / "backbone"
    return project / name if (project / name).is_dir() else resolve(name)
