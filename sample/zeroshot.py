"""Measures the tiny CLIP's zero-shot recall: ``python -m sample.zeroshot DATA``."""

import csv
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from torch import Tensor
from torch.nn import functional
from transformers import AutoTokenizer, CLIPModel

from sample import video
from sample.pretrain import DEVIATION, MEAN, embed
from sample.webpairs import SIDE

FRAMES = 8


@torch.inference_mode()
def ranks(root: Path, split: str) -> Tensor:
    """The rank of the ground-truth video, for the first caption of each video of a split."""
    model = CLIPModel.from_pretrained(root / "clip", local_files_only=True, dtype=torch.float32)
    words = AutoTokenizer.from_pretrained(root / "clip", local_files_only=True)
    with (root / "captions.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == split]
    captions: dict[str, str] = {}
    for row in rows:
        captions.setdefault(row["video"], row["caption"])
    texts = words([*captions.values()], padding=True, truncation=True, return_tensors="pt")
    text = functional.normalize(embed(model.get_text_features(**texts)))
    mean, deviation = (torch.tensor(v).view(1, 3, 1, 1) for v in (MEAN, DEVIATION))
    means = []
    for name in captions:
        frames = video.read(root / "videos" / name, SIDE)
        chosen = frames[np.linspace(0, len(frames) - 1, FRAMES).round().astype(int)]
        pixels = (torch.from_numpy(chosen).permute(0, 3, 1, 2) / 255 - mean) / deviation
        features = functional.normalize(embed(model.get_image_features(pixel_values=pixels)))
        means.append(functional.normalize(features.mean(0), dim=0))
    scores = text @ torch.stack(means).T
    return (scores > scores.diagonal()[:, None]).sum(1) + 1


def main(
    data: Annotated[Path, typer.Argument(help="Folder with videos/, captions.csv and clip/.")],
    split: Annotated[str, typer.Option(help="The split whose videos are searched.")] = "test",
) -> None:
    """Print the zero-shot recall from text to video. A video is the mean of its frames."""
    torch.set_num_threads(1)
    found = ranks(data, split)
    recalls = ", ".join(f"R@{k} {(found <= k).float().mean().item():.1%}" for k in (1, 5, 10))
    typer.echo(f"{len(found)} {split} queries: {recalls}")


if __name__ == "__main__":
    typer.run(main)
