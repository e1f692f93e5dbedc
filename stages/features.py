"""Run the frozen prefix of CLIP once per view of a task's videos, and frozen CLIP's own last layers with it."""

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from structalign.console import command, track
from structalign.costs import measured
from structalign.data.frames import FrameSplit
from structalign.errors import UserError
from structalign.model.backbone import Tokeniser, load_clip, pixel_statistics
from structalign.model.device import autocast, prepare_device
from structalign.model.features import CENTRE, Captions, view_name, write_captions, write_index, write_view
from structalign.model.views import centre_view, seeded_view
from structalign.params import read
from structalign.scratch import scratch
from structalign.sections.backbone import Backbone
from structalign.sections.features import Features
from structalign.store import folder_bytes, read_json, whole, whole_folder

BACKBONE = Path("work/backbone")


def main(task: str) -> None:
    """Write work/features/<TASK>/{train,val,test} from its frames and training captions."""
    backbone, section = read("backbone", Backbone), read("features", Features)
    out = Path("work/features", task)
    inputs = [BACKBONE, Path("work/frames", task)]
    with measured("features", task) as cost, scratch("features", task, (backbone, section), inputs) as done:
        device = prepare_device()
        clip = load_clip(BACKBONE).to(device)
        if backbone.vision_frozen > len(clip.vision_layers):
            raise UserError(
                f"`backbone.vision_frozen` = {backbone.vision_frozen}, but {backbone.name} has only "
                f"{len(clip.vision_layers)} vision layers: lower it."
            )
        mean, std = (x.to(device) for x in pixel_statistics(BACKBONE))

        @torch.inference_mode()
        def encode(source: FrameSplit, i: int, view: str, precision: str) -> dict[str, Tensor]:
            """One video at a time: a stored tensor does not depend on its neighbours."""
            frames = torch.from_numpy(source.frames(i).copy()).permute(0, 3, 1, 2).float() / 255
            if view == CENTRE:
                pixels = centre_view(frames, clip.image_size)
            else:
                key = (section.seed, view, source.rows[i]["id"])
                pixels = seeded_view(frames, clip.image_size, section.flip, *key)
            with autocast(device, precision):
                states = clip.vision_prefix((pixels.to(device) - mean) / std, backbone.vision_frozen).half()
            if view != CENTRE:
                return {"states": states.cpu()}
            return {"states": states.cpu(), "frames": clip.vision_suffix(states.float(), backbone.vision_frozen).cpu()}

        for split in ("train", "val", "test"):
            source = FrameSplit(Path("work/frames", task, split))
            views = section.train_views if split == "train" else 0
            precision = backbone.precision if split == "train" else "fp32"
            with whole_folder(out / split) as folder:
                for view in (CENTRE, *map(view_name, range(views))):
                    videos = [
                        once(done / f"{split}-{view}-{i}", partial(encode, source, i, view, precision))
                        for i in track(range(len(source)), f"features {task} {split} {view}")
                    ]
                    frozen = [video["frames"] for video in videos if view == CENTRE]
                    write_view(folder, view, [video["states"] for video in videos], frozen)
                cut = write_training_captions(task, source, folder) if split == "train" else 0
                write_index(folder, source.rows, views, cut)
            cost[f"bytes_{split}"] = folder_bytes(out / split)
            cost[f"videos_{split}"] = len(source)


def once(file: Path, compute: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    """What `compute` gives, or gave in a run that was interrupted."""
    if file.exists():
        with suppress(SafetensorError):  # a machine that lost power may leave half a file
            return load_file(file)
    tensors = compute()
    with whole(file) as part:
        save_file(tensors, part)
    return tensors


def write_training_captions(task: str, source: FrameSplit, folder: Path) -> int:
    """Token ids of the training captions whose video could be decoded; returns how many were cut."""
    position = {row["id"]: i for i, row in enumerate(source.rows)}
    rows = read_json(Path("work/manifest", task, "train_captions.json"))["captions"]
    rows = [row for row in rows if row["video"] in position]
    tokeniser = Tokeniser(BACKBONE)
    tokens = tokeniser([row["text"] for row in rows])
    tokeniser.say_cut(tokens, f"features {task} train")
    video = torch.tensor([position[row["video"]] for row in rows], dtype=torch.int64)
    category = torch.tensor([row["category"] for row in rows], dtype=torch.int64)
    write_captions(folder, Captions(tokens, video, category))
    return tokens.cut


if __name__ == "__main__":
    command(main)
