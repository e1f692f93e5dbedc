"""Store a task's training clips for search, and what its captions are like; evaluation opens none of this."""

import torch
from safetensors.torch import save_file

from structalign.console import command
from structalign.data.frame_store import FrameSplit
from structalign.model.backbone import pixel_statistics
from structalign.model.checkpoint import fingerprint, read_config
from structalign.model.device import prepare_device
from structalign.model.features import Features, read_captions
from structalign.model.sources import make_source
from structalign.paths import BACKBONE, CHECKPOINTS, COLLECTION, FEATURES, FRAMES
from structalign.search.encoder import load_encoder
from structalign.search.familiarity import observe
from structalign.search.index import write_gallery
from structalign.store import digest, whole_folder, write_json


@torch.inference_mode()
def main(task: str) -> None:
    """Write work/collection/<TASK>, by the checkpoint of the task."""
    checkpoint, out = CHECKPOINTS / task, COLLECTION / task
    with whole_folder(out) as folder:
        encoder = load_encoder(checkpoint, read_config(checkpoint), BACKBONE, prepare_device())
        features = Features(FEATURES / task / "train")
        frames = zero_shot = features.zero_shot_frames()
        if encoder.model is not None:
            decoded = FrameSplit(FRAMES / task / "train")
            videos = make_source(encoder.model, features, decoded, pixel_statistics(BACKBONE), encoder.device)
            frames = encoder.videos(videos, f"collect {task} train")
        rows = [{**row, "task": task} for row in features.rows]
        write_gallery(folder, "train", rows, encoder.head.store(frames), zero_shot)
        captions = read_captions(FEATURES / task / "train")
        known = observe(encoder.zero_shot(captions.tokens), captions.video)
        save_file(known, folder / "captions.safetensors")
        hashes = {file.name: digest(file) for file in sorted(folder.iterdir())}
        write_json(folder / "index.json", {"encoder": fingerprint(checkpoint), "files": hashes})


if __name__ == "__main__":
    command(main)
