"""`structalign.load(checkpoint)`: a model that encodes texts and videos and scores them, from any folder."""

from collections.abc import Iterable
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from structalign.data.pretrained import of_checkpoint, resolve
from structalign.errors import UserError
from structalign.model.backbone import Tokeniser, pixel_statistics
from structalign.model.checkpoint import CheckpointConfig, read_config
from structalign.model.device import prepare_device
from structalign.model.video_text import TextEmbeddings
from structalign.model.views import normalised_view
from structalign.params.section import shown
from structalign.paths import BACKBONE
from structalign.search.encoder import Encoder, load_encoder
from structalign.search.scoring import score
from structalign.search.signal import Comparison

SECONDS_PER_VIDEO = 60.0
ZERO_SHOT_FRAMES = 8  # for a checkpoint without adapters, since CLIP has no number of frames


@dataclass(frozen=True)
class Retriever:
    """A loaded checkpoint."""

    config: CheckpointConfig
    encoder: Encoder
    tokeniser: Tokeniser
    pixels: tuple[Tensor, Tensor]

    @property
    def frames(self) -> int:
        """The number N of frames that are sampled from a video."""
        return self.encoder.model.config.frames if self.encoder.model is not None else ZERO_SHOT_FRAMES

    def encode_text(self, texts: Iterable[str], task: int | None = None) -> TextEmbeddings:
        """Words [R, L, D], mask [R, L] and sentences [R, D], routed as `task` (from 1, None: the newest).

        Raises `UserError` if `texts` is not a list of sentences, or if the task was not learned.
        """
        sentences = [] if isinstance(texts, str) or not isinstance(texts, Iterable) else list(texts)
        if not sentences or not all(isinstance(sentence, str) for sentence in sentences):
            raise UserError(
                f"{_short(texts)} is not a list of sentences: pass at least one, for example ['a hog spins around']."
            )
        learned = len(self.config.tasks)
        if task is not None and (not isinstance(task, Integral) or not 1 <= task <= learned):
            raise UserError(f"task {task!r} was not learned: this checkpoint has tasks 1 to {learned}.")
        return self.encoder.captions(self.tokeniser(list(map(str, sentences))), int(task or learned))

    @torch.inference_mode()
    def encode_video(self, video: str | Path | NDArray[np.uint8]) -> Tensor:
        """[N, D] raw frame embeddings of a video or image file, or of uint8 frames [N', H, W, 3].

        Raises `UserError` if the file cannot be decoded, or if the array is not a video.
        """
        clip, model = self.encoder.clip, self.encoder.model
        if isinstance(video, (str, Path)):
            from structalign.data.video import BrokenVideo, decode  # not needed to search stored videos

            try:
                video = decode(Path(video), self.frames, clip.image_size, timeout=SECONDS_PER_VIDEO).frames
            except BrokenVideo as reason:
                raise UserError(f"{video} cannot be encoded: {reason}.") from None
        if not isinstance(video, np.ndarray):
            raise UserError(f"{_short(video)} is not a video: pass a file's name, or uint8 [frames, height, width, 3].")
        if video.dtype != np.uint8 or video.ndim != 4 or video.shape[-1] != 3 or not len(video):
            what = f"{video.dtype} of shape {list(video.shape)}"
            raise UserError(f"an array of {what} is not a video: pass uint8 [frames, height, width, 3].")
        chosen = ((np.arange(self.frames) + 0.5) / self.frames * len(video)).astype(int)
        mean, std = (x.to(self.encoder.device) for x in self.pixels)
        pixels = normalised_view(video[chosen], clip.image_size, (mean, std))
        if model is None:
            return clip.vision_suffix(clip.vision_prefix(pixels, 0), 0).cpu()
        return model.encode_frames(model.inputs(pixels)[None])[0].cpu()

    @torch.inference_mode()
    def score(
        self, texts: Iterable[str], videos: Iterable[str | Path | NDArray[np.uint8]], task: int | None = None
    ) -> Tensor:
        """[texts, videos]: the mean of word-frame and sentence-video similarity, or the method's single cosine.

        The ranking of a gallery first standardises both over the gallery's videos (method, section 3), and knows each
        video's task. Here there is no gallery and no task, so the similarities are averaged without standardisation.
        """
        given = [] if isinstance(videos, (str, Path)) or not isinstance(videos, Iterable) else list(videos)
        if not given:
            raise UserError(f"{_short(videos)} is not a list of videos: pass at least one, for example ['clip.mp4'].")
        frames = torch.stack([self.encode_video(video) for video in given])
        text, encoder = self.encode_text(texts, task), self.encoder
        found = score(Comparison(text, text, frames, encoder.head, encoder.model), states={})
        return (found.get("words", found["sentence"]) + found["sentence"]) / 2


PASS_IT = "pass the checkpoint's CLIP as `backbone`, by its folder or hub name"


def load(checkpoint: str | Path, backbone: str | Path | None = None) -> Retriever:
    """Load a checkpoint folder.

    Its backbone is `backbone` (a folder or a name on the hub), if given. Otherwise it is the pipeline's copy in the
    project, or else the name in the checkpoint's config. Raises `UserError` if the folder is no checkpoint, or if the
    backbone cannot be found.
    """
    folder = Path(checkpoint)
    config = read_config(folder)
    if backbone is not None:
        source = resolve(str(backbone), f"backbone = {shown(str(backbone))}")
    else:
        name = config.backbone
        source = _backbone(folder.resolve().parent.parent, name, of_checkpoint(folder, name))
    encoder = load_encoder(folder, config, source, prepare_device())
    return Retriever(config, encoder, Tokeniser(source), pixel_statistics(source))


def _short(value: object) -> str:
    """A value, shortened for a message."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}..."


def _backbone(project: Path, name: str, called: str) -> Path:
    """The pipeline's copy of the backbone `name`, or else the folder of that name in the project, or the hub."""
    first = project / "checkpoints" / "t00"
    if (project / BACKBONE).exists() and first.exists() and read_config(first).backbone == name:
        return project / BACKBONE
    return project / name if (project / name).is_dir() else resolve(name, called, PASS_IT)
