"""The geometry of a split, which stage `embed` stores for the report: category prototypes and their collapse.

Letters: Q queries, V videos, N frames, L words, C categories, D embedding, d ETF space.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.numpy import save_file
from torch import Tensor
from torch.nn import functional as F

from structalign.evaluation.geometry import neural_collapse, prototypes
from structalign.model.video_text import VideoText
from structalign.search.index import Gallery
from structalign.search.similarity import video_vectors


def write_prototypes(path: Path, text: Tensor, text_category: Tensor, video: Tensor, video_category: Tensor) -> None:
    """Store mean vectors `text` and `video` [C, D] and the ids `category` [C] of all categories with both."""
    ids = torch.tensor(sorted(set(text_category.tolist()) & set(video_category.tolist())))
    categories = ids.numpy()
    save_file(
        {
            "category": categories,
            "text": prototypes(text.numpy(), text_category.numpy(), categories).astype("float32"),
            "video": prototypes(video.numpy(), video_category.numpy(), categories).astype("float32"),
        },
        path,
    )


@torch.no_grad()
def collapse(
    vectors: Tensor, category: Tensor, head: Callable[[Tensor], Tensor], vertices: Tensor
) -> dict[str, float] | None:
    """NC1 to NC4 of vectors [n, D] and vertices [capacity, d]. The ETF head maps the vectors to unit vectors of R^d.

    Rounded to six significant digits: the last ones differ from run to run, and DVC would call that a change.
    """
    seen, local = torch.unique(category, return_inverse=True)
    mapped = F.normalize(head(vectors), dim=-1).cpu()
    found = neural_collapse(mapped.numpy(), local.numpy(), vertices[seen].numpy())
    return found and {name: float(f"{value:.6g}") for name, value in found.items()}


def dump_geometry(
    folder: Path,
    split: str,
    captions: Tensor,
    caption_category: Sequence[int],
    galleries: Sequence[Gallery],
    model: VideoText | None,
    vertices: Tensor | None,
) -> dict[str, Any]:
    """Store the split's category prototypes, and return the collapse of captions and videos, if it is defined.

    captions: [Q, D], each encoded as its video's task. Videos are the stored ones.
    """
    videos = torch.cat([video_vectors(part.frames) for part in galleries])
    category = torch.tensor(caption_category)
    video_category = torch.tensor([row["category"] for part in galleries for row in part.rows])
    write_prototypes(folder / f"{split}.safetensors", captions, category, videos, video_category)
    if model is None or vertices is None:
        return {"text": None, "video": None}
    device = next(model.parameters()).device
    return {
        "text": collapse(captions.to(device), category, model.head.text, vertices),
        "video": collapse(videos.to(device), video_category, model.head.video, vertices),
    }
