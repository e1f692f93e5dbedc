"""Run the frozen prefix of CLIP once per view of a task's videos, and the last layers of zero-shot CLIP."""

from functools import partial
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from structalign.console import command, track
from structalign.data.frame_store import FrameSplit
from structalign.data.parallel import in_order
from structalign.item_cache import load_or_make
from structalign.model.backbone import Tokeniser
from structalign.model.device import prepare_device
from structalign.model.features import CENTRE, Captions, view_name, write_captions, write_index, write_view
from structalign.model.frozen_features import Recipe, encode_view
from structalign.params.backbone import Backbone
from structalign.params.features import FeaturesParams
from structalign.params.reading import read
from structalign.paths import BACKBONE, FEATURES, FRAMES, MANIFEST
from structalign.preprocessing import image_size
from structalign.scratch import scratch
from structalign.store import read_json, read_rows, whole_folder


def main(task: str) -> None:
    """Write work/features/<TASK>/{train,val,test} from its frames and training captions."""
    backbone, section = read("backbone", Backbone), read("features", FeaturesParams)
    out = FEATURES / task
    inputs = [BACKBONE, FRAMES / task]
    with scratch("features", task, (backbone, section), inputs) as done:
        prepare_device()
        recipe = Recipe(BACKBONE, backbone, section, torch.get_num_threads())
        for split in ("train", "val", "test"):
            place = FRAMES / task / split
            source = FrameSplit(place)
            if split == "train" and (problem := smaller_than_read(source)):
                print(f"features {task}: {problem}")
            views = section.train_views if split == "train" else 0
            precision = backbone.precision if split == "train" else "fp32"
            videos = list(enumerate(row["id"] for row in source.rows))
            with whole_folder(out / split) as folder:
                for view in (CENTRE, *map(view_name, range(views))):
                    work = partial(encode, place, view, precision, recipe, done)
                    # one thread, since torch uses threads itself
                    encoded = in_order(work, videos, threads=1)
                    found = list(track(encoded, f"features {task} {split} {view}", len(videos)))
                    frozen = [video["frames"] for video in found if view == CENTRE]
                    write_view(folder, view, [video["states"] for video in found], frozen)
                cut = write_training_captions(task, source, folder) if split == "train" else 0
                write_index(folder, source.rows, views, cut)


def smaller_than_read(source: FrameSplit) -> str | None:
    """A note if the stored frames are smaller than CLIP's images, so that they are enlarged. None otherwise."""
    side = image_size(read_json(BACKBONE / "config.json"))
    size = min(source.frames(0).shape[1:3]) if len(source) else side
    if size >= side:
        return None
    return f"the frames have {size} pixels, but CLIP reads {side}: set `frames.size: {side}` to keep their details."


def encode(
    source: Path, view: str, precision: str, recipe: Recipe, done: Path, video: tuple[int, str]
) -> dict[str, Tensor]:
    """A view of the video (position, id) of the split in `source`. `done` has the views of an interrupted run."""
    position, name = video

    def compute() -> dict[str, Tensor]:
        return encode_view(recipe, FrameSplit(source).frames(position), name, view, precision)

    return load_or_make(done / f"{source.name}-{view}-{position}", compute, save_file, load_file)


def write_training_captions(task: str, source: FrameSplit, folder: Path) -> int:
    """Write token ids of the training captions with a decoded video. Returns how many captions were truncated."""
    position = {row["id"]: i for i, row in enumerate(source.rows)}
    rows = read_rows(MANIFEST / task / "train_captions.json", "captions", "video", "text", "category")
    rows = [row for row in rows if row["video"] in position]
    tokeniser = Tokeniser(BACKBONE)
    tokens = tokeniser([row["text"] for row in rows])
    tokeniser.warn_truncated(tokens, f"features {task} train")
    video = torch.tensor([position[row["video"]] for row in rows], dtype=torch.int64)
    category = torch.tensor([row["category"] for row in rows], dtype=torch.int64)
    write_captions(folder, Captions(tokens, video, category))
    return tokens.cut


if __name__ == "__main__":
    command(main)
