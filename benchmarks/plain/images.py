"""PNG files of frames to pixels, as the released code reads them: N frames of size S."""

import math
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor


def load_frames(files: Sequence[Path], size: int, mean: Tensor, std: Tensor) -> Tensor:
    """PNG files of a video -> [N, 3, size, size] normalised: bicubic resize of the short side, centre crop."""
    frames = []
    for image in map(opened, files):
        scale = size / min(image.size)
        image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
        left, top = (image.width - size) // 2, (image.height - size) // 2
        frames.append(image.crop((left, top, left + size, top + size)))
    return normalised(frames, mean, std)


def load_random_crop(files: Sequence[Path], size: int, mean: Tensor, std: Tensor) -> Tensor:
    """The same with one random crop of at least half of the area, and one flip, for all frames."""
    images = [opened(file) for file in files]
    width, height = images[0].size
    side = math.sqrt(random.uniform(0.5, 1))
    w, h = round(side * width), round(side * height)
    left, top = random.randint(0, width - w), random.randint(0, height - h)
    box, mirror = (left, top, left + w, top + h), random.random() < 0.5
    frames = [image.resize((size, size), Image.Resampling.BILINEAR, box) for image in images]
    if mirror:
        frames = [frame.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for frame in frames]
    return normalised(frames, mean, std)


def opened(file: Path) -> Image.Image:
    with Image.open(file) as image:
        return image.convert("RGB")


def normalised(frames: Sequence[Image.Image], mean: Tensor, std: Tensor) -> Tensor:
    pixels = torch.stack([torch.from_numpy(np.array(frame)) for frame in frames])
    return (pixels.permute(0, 3, 1, 2).float() / 255 - mean) / std
