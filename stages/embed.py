"""Store a task's videos once, with the model that learned them, and score every seen query against all videos."""

from pathlib import Path
from typing import Any

import torch

from structalign.console import command
from structalign.costs import measured
from structalign.data.frames import FrameSplit
from structalign.model.backbone import Tokeniser, load_clip, pixel_statistics
from structalign.model.checkpoint import build_model, fingerprint, load_memory, read_config
from structalign.model.device import prepare_device
from structalign.model.features import Features
from structalign.model.inputs import videos_for
from structalign.params import read
from structalign.retrieval.comparison import COMPARISONS
from structalign.retrieval.gallery import read_galleries, write_gallery, write_index
from structalign.retrieval.prior import task_prior
from structalign.retrieval.probing import probe
from structalign.retrieval.scoring import embed_videos, keep_scores, queries_at_once, score_galleries
from structalign.sections.ranking import Ranking
from structalign.store import folder_bytes, read_json, whole_folder, write_json

BACKBONE = Path("work/backbone")
SPLITS = ("val", "test")


@torch.inference_mode()
def main(task: str, prev: str) -> None:
    """Write work/gallery, work/index, work/scores and work/geometry of TASK; PREV is the task before."""
    checkpoint, gallery, index = Path("checkpoints", task), Path("work/gallery", task), Path(f"work/index/{task}.json")
    with measured("embed", task) as cost:
        device, config = prepare_device(), read_config(checkpoint)
        clip = load_clip(BACKBONE, device)
        model = build_model(clip, config, checkpoint)
        (clip if model is None else model).to(device)
        with whole_folder(gallery) as folder:
            for split in SPLITS:
                features = Features(Path("work/features", task, split))
                frozen = features.frozen_frames() if len(features) else torch.empty(0, 1, clip.embedding_dim)
                frames = frozen
                if model is not None and len(features):
                    decoded = FrameSplit(Path("work/frames", task, split))
                    videos = videos_for(model, features, decoded, pixel_statistics(BACKBONE), device)
                    frames = embed_videos(model, videos, device, f"embed {task} {split}")
                frames = COMPARISONS[config.comparison].store(frames)
                write_gallery(folder, split, [{**row, "task": task} for row in features.rows], frames, frozen)
        write_index(index, Path("work/index", f"{prev}.json"), task, gallery, fingerprint(checkpoint))

        tokeniser, measures = Tokeniser(BACKBONE), dict[str, Any]()
        queries = read_json(Path("work/manifest", task, "seen.json"))["queries"]
        memory = load_memory(checkpoint)
        prior, vertices = task_prior(memory), memory.get("vertices")
        with whole_folder(Path("work/scores", task)) as folder, whole_folder(Path("work/geometry", task)) as geometry:
            for split in SPLITS:
                galleries = read_galleries(index, split)
                rows = [row for part in galleries for row in part.rows]
                task_of = {row["id"]: row["task"] for row in rows}
                asked = [query for query in queries if query["split"] == split and query["video"] in task_of]
                write_json(folder / f"{split}.json", {"task": task, "queries": asked, "videos": rows})
                if not asked:
                    continue
                tokens, owners = tokeniser([q["text"] for q in asked]), [task_of[q["video"]] for q in asked]
                at_once, label = queries_at_once(len(asked), len(rows)), f"score {task} {split}"
                tokeniser.say_cut(tokens, label)
                blocks = score_galleries(clip, model, prior, config, tokens, owners, galleries, device, label, at_once)
                # what is too large to keep is ranked at once; evaluate refuses ranks of another `ranking` than its own
                ranking = None if at_once >= len(asked) else read("ranking", Ranking)
                columns = {row["id"]: column for column, row in enumerate(rows)}
                owner = [columns[query["video"]] for query in asked]
                captions = keep_scores(folder, split, blocks, owner, [row["task"] for row in rows], ranking)
                category = [query["category"] for query in asked]
                measures[split] = probe(geometry, split, captions, category, galleries, model, vertices)
            write_json(geometry / "collapse.json", measures)
        cost["stored_bytes_per_video"] = frames.shape[1] * frames.shape[2] * frames.element_size()
        cost["bytes_gallery"] = folder_bytes(gallery)
        cost["bytes_scores"] = folder_bytes(Path("work/scores", task))


if __name__ == "__main__":
    command(main)
