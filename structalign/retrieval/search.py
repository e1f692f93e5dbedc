"""One sentence against every stored video, each task's videos with the sentence encoded as that task."""

from dataclasses import dataclass
from pathlib import Path

from structalign.errors import UserError
from structalign.retrieval.gallery import read_galleries, score, side_by_side
from structalign.retrieval.metrics import fuse
from structalign.retrieval.retriever import Retriever


@dataclass(frozen=True)
class Hit:
    """A stored video; `start` and `end` in seconds bound the part that the best matching frame stands for."""

    score: float
    file: str
    category: int
    task: str
    start: float
    end: float


def rank_gallery(retriever: Retriever, index: Path, sentence: str, beta: float, split: str = "test") -> list[Hit]:
    """All stored videos of `split`, best first, by the ranking score of method section 3."""
    galleries = read_galleries(index, split)
    if not galleries:
        raise UserError(f"{index} names no stored videos of split {split}: add test videos and run `dvc repro`.")
    blocks = []
    for gallery in galleries:
        number = retriever.config.tasks.index(gallery.task) + 1
        text = retriever.encode_text([sentence], number)
        blocks.append(score(text, gallery.frames))
    words, sentences, frame = (block[0].numpy() for block in side_by_side(blocks))
    fused = fuse(words[None], sentences[None], beta)[0]
    rows = [row for gallery in galleries for row in gallery.rows]
    hits = []
    for i in fused.argsort()[::-1].tolist():
        row = rows[i]
        part = row["duration"] / len(row["times"])
        start = row["start"] + int(frame[i]) * part
        hits.append(Hit(float(fused[i]), row["file"], row["category"], row["task"], start, start + part))
    return hits
