"""Encode a file as segments: one decoding pass at one frame per second, where frames are encoded as they arrive.

Letters: F frames of a file, N frames of a segment, S pixels of a side, D embedding.
"""

import time
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from threading import Lock
from typing import IO, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from structalign.data.video import Watched, watch
from structalign.library.segments import Segment, cut, spread
from structalign.model.views import normalised_view
from structalign.search.encoder import Encoder

AT_ONCE = 8  # frames encoded in one pass
SHORT_FRAMES = 8  # frames of a file that lasts at most this many seconds
Image = NDArray[np.uint8]


@dataclass(frozen=True)
class Described:
    """An encoded file: the result of the pass, its segments, and the unit vectors of their frames.

    The vectors [N, D] are from the encoder and from zero-shot CLIP. encoding, decoding: seconds that these took.
    """

    watched: Watched
    segments: list[Segment]
    frames: list[Tensor]
    zero_shot: list[Tensor]
    decoding: float
    encoding: float


class Sampler:
    """Encodes files with `encoder`. scratch: a folder for temporary frames. None: the system's temporary folder."""

    def __init__(
        self, encoder: Encoder, pixels: tuple[Tensor, Tensor], scratch: Path | None = None, timeout: float = 60.0
    ):
        self.encoder, self.scratch, self.timeout = encoder, scratch, timeout
        mean, std = pixels
        self.pixels = mean.to(encoder.device), std.to(encoder.device)
        # adapters are switched off and on meanwhile, which other threads would see
        self._turn = Lock() if encoder.model is not None else nullcontext()

    @torch.inference_mode()
    def describe(self, path: Path) -> Described:
        """The segments of a file. Raises BrokenVideo like `watch`."""
        begin, encoding = time.perf_counter(), 0.0
        waiting, done, shape = list[Image](), list[Tensor](), list[int]()
        with TemporaryFile(dir=self.scratch) if self.encoder.model is not None else nullcontext() as spool:

            def encode() -> None:
                nonlocal encoding
                since = time.perf_counter()
                done.append(self._zero_shot(np.stack(waiting)))
                if spool is not None:
                    for image in waiting:
                        spool.write(image.tobytes())
                waiting.clear()
                encoding += time.perf_counter() - since

            def take(image: Image) -> None:
                shape[:] = image.shape
                waiting.append(image)
                if len(waiting) == AT_ONCE:
                    encode()

            watched = watch(path, self.encoder.clip.image_size, take, SHORT_FRAMES, self.timeout)
            if waiting:
                encode()
            decoding = time.perf_counter() - begin - encoding
            since = time.perf_counter()
            embeddings = torch.cat(done)
            segments = cut(embeddings, watched.times, watched.end)
            zero_shot = [embeddings[segment.frames] for segment in segments]
            frames = zero_shot
            if spool is not None:
                pictures = _Spool(spool, tuple(shape))
                frames = [self._own(pictures, segment) for segment in segments]
            encoding += time.perf_counter() - since
        unit = [F.normalize(frame, dim=-1) for frame in zero_shot]
        return Described(watched, segments, frames if frames is not zero_shot else unit, unit, decoding, encoding)

    def _zero_shot(self, frames: Image) -> Tensor:
        """[n, H, W, 3] -> [n, D] by zero-shot CLIP."""
        encoder = self.encoder
        pixels = normalised_view(frames, encoder.clip.image_size, self.pixels)
        if encoder.model is None:
            return encoder.clip.vision_suffix(encoder.clip.vision_prefix(pixels, 0), 0).cpu()
        with self._turn, encoder.model.frozen():
            return encoder.clip.vision_suffix(encoder.clip.vision_prefix(pixels, 0), 0).cpu()

    def _own(self, pictures: "_Spool", segment: Segment) -> Tensor:
        """The vectors that the method stores for a segment. It gets as many frames as in training."""
        model = self.encoder.model
        assert model is not None
        chosen = spread(segment.frames, model.config.frames)
        pixels = normalised_view(pictures.frames(chosen), self.encoder.clip.image_size, self.pixels)
        with self._turn:
            stored = self.encoder.head.store(model.encode_frames(model.inputs(pixels)[None]))
        return F.normalize(stored[0], dim=-1).cpu()


class _Spool:
    """Pictures of one shape on disk, since an hour of video would not fit into memory."""

    def __init__(self, file: IO[bytes], shape: tuple[int, ...]):
        file.flush()
        self._all: Any = np.memmap(file, np.uint8, "r").reshape(-1, *shape)

    def frames(self, numbers: list[int]) -> Image:
        return np.stack([self._all[number] for number in numbers])
