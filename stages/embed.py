"""Store a task's videos once, with the model that learned them, and score every seen query against all videos."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from structalign.console import command, track
from structalign.costs import measured
from structalign.model.backbone import Tokeniser, load_clip
from structalign.model.checkpoint import build_model, load_memory, read_config
from structalign.model.device import prepare_device
from structalign.model.features import Features
from structalign.model.video_text import VideoText, encode_frozen, encode_queries
from structalign.retrieval.gallery import Gallery, read_galleries, score, side_by_side, write_gallery, write_index
from structalign.retrieval.probing import caption_vectors, collapse, video_vectors, write_prototypes
from structalign.store import folder_bytes, read_json, whole_folder, write_json

BACKBONE = Path("work/backbone")


@torch.inference_mode()
def main(task: str, prev: str) -> None:
    """Write work/gallery, work/index, work/scores and work/geometry of TASK; PREV is the task before."""
    with measured("embed", task) as cost:
        device = prepare_device()
        clip = load_clip(BACKBONE)
        config = read_config(Path("checkpoints", task))
        model = build_model(clip, config, Path("checkpoints", task))
        clip.to(device)
        if model is not None:
            model.to(device)
        gallery, index = Path("work/gallery", task), Path("work/index", f"{task}.json")
        with whole_folder(gallery) as folder:
            for split in ("val", "test"):
                features = Features(Path("work/features", task, split))
                frozen = features.frozen_frames() if len(features) else torch.empty(0, 1, clip.embedding_dim)
                frames = embed_videos(model, features, frozen, device, f"embed {task} {split}")
                rows = [{**row, "task": task} for row in features.rows]
                write_gallery(folder, split, rows, frames, frozen)
        write_index(index, Path("work/index", f"{prev}.json"), task, gallery)

        tokeniser = Tokeniser(BACKBONE)
        queries = read_json(Path("work/manifest", task, "seen.json"))["queries"]
        vertices = load_memory(Path("checkpoints", task)).get("vertices")
        measures: dict[str, Any] = {}
        with whole_folder(Path("work/scores", task)) as folder, whole_folder(Path("work/geometry", task)) as geometry:
            for split in ("val", "test"):
                galleries = read_galleries(index, split)
                videos = [row for part in galleries for row in part.rows]
                stored = {row["id"] for row in videos}
                asked = [q for q in queries if q["split"] == split and q["video"] in stored]
                if not asked:
                    write_json(folder / f"{split}.json", {"task": task, "queries": [], "videos": videos})
                    continue
                tokens = tokeniser([q["text"] for q in asked])
                frozen_text = encode_frozen(clip, model, tokens, device)
                task_of = {row["id"]: row["task"] for row in videos}
                blocks, frozen_blocks, captions = [], [], torch.empty(len(asked), clip.embedding_dim)
                for part in track(galleries, f"score {task} {split}"):
                    number = config.tasks.index(part.task) + 1
                    text = encode_queries(model, tokens, number, device) if model is not None else frozen_text
                    blocks.append(score(text, part.frames))
                    frozen_blocks.append(score(frozen_text, part.frozen)[:2])
                    own = torch.tensor([task_of[query["video"]] == part.task for query in asked])
                    captions[own] = caption_vectors(text[own])
                words, sentence, matching = side_by_side(blocks)
                frozen_words, frozen_sentence = side_by_side(frozen_blocks)
                matrices = {
                    "words": words,
                    "sentence": sentence,
                    "frozen_words": frozen_words,
                    "frozen_sentence": frozen_sentence,
                    "best_frame": matching.to(torch.uint8),
                }
                save_file({name: x.contiguous() for name, x in matrices.items()}, folder / f"{split}.safetensors")
                write_json(folder / f"{split}.json", {"task": task, "queries": asked, "videos": videos})
                measures[split] = probe(geometry, split, captions, asked, galleries, model, vertices)
            write_json(geometry / "collapse.json", measures)
        cost["stored_bytes_per_video"] = frames.shape[1] * frames.shape[2] * frames.element_size()
        cost["bytes_gallery"] = folder_bytes(gallery)
        cost["bytes_scores"] = folder_bytes(Path("work/scores", task))


def probe(
    folder: Path,
    split: str,
    captions: Tensor,
    queries: list[dict[str, Any]],
    galleries: list[Gallery],
    model: VideoText | None,
    vertices: Tensor | None,
) -> dict[str, Any]:
    """Store the split's category prototypes, and return how far captions and videos have collapsed, as far as known.

    A caption is read as the task that brought its video; videos are those stored.
    """
    videos = torch.cat([video_vectors(part.frames) for part in galleries])
    category = torch.tensor([query["category"] for query in queries])
    video_category = torch.tensor([row["category"] for part in galleries for row in part.rows])
    write_prototypes(folder / f"{split}.safetensors", captions, category, videos, video_category)
    if model is None or vertices is None:
        return {"text": None, "video": None}
    return {
        "text": collapse(captions, category, model.head, vertices),
        "video": collapse(videos, video_category, model.head, vertices),
    }


def embed_videos(
    model: VideoText | None, features: Features, frozen: Tensor, device: torch.device, label: str
) -> Tensor:
    """[V, N, D] raw frame embeddings, one video at a time: a video's numbers do not depend on the others."""
    if model is None or not len(features):
        return frozen
    return torch.cat([
        model.encode_frames(features.states(i).to(device)[None]).cpu()
        for i in track(range(len(features)), label)
    ])  # fmt: skip


if __name__ == "__main__":
    command(main)
