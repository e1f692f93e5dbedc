"""One sentence against every stored video, each task's videos with the sentence encoded as that task."""

from dataclasses import dataclass
from pathlib import Path

from structalign.errors import UserError
from structalign.retrieval.gallery import read_galleries, side_by_side
from structalign.retrieval.metrics import fuse, weighed
from structalign.retrieval.prior import of_task
from structalign.retrieval.retriever import Retriever
from structalign.sections.ranking import Ranking


@dataclass(frozen=True)
class Hit:
    """A stored video; `start` and `end` in seconds bound the part that the best matching frame stands for, or the
    whole video where a method stores one vector of it."""

    score: float
    file: str
    category: int
    task: str
    start: float
    end: float


def rank_gallery(retriever: Retriever, index: Path, sentence: str, ranking: Ranking, split: str = "test") -> list[Hit]:
    """All stored videos of `split`, best first, by the ranking score of docs/protocol.md."""
    galleries = read_galleries(index, split)
    if not galleries:
        raise UserError(f"{index} names no stored videos of split {split}: add test videos and run `dvc repro`.")
    blocks, log_prior = [], retriever.log_task_prior([sentence])
    for gallery in galleries:
        number = retriever.config.tasks.index(gallery.task) + 1
        found = retriever.compare(retriever.encode_text([sentence], number), gallery.frames)
        blocks.append(found | of_task(log_prior, number, len(gallery.rows)))
    scores = {name: matrix.numpy() for name, matrix in side_by_side(blocks).items()}
    bonus = weighed(scores.get("task_prior"), ranking.task_prior)
    fused, frame = fuse(scores.get("words"), scores["sentence"], ranking.beta, bonus)[0], scores["best_frame"][0]
    kept = galleries[0].frames.shape[1]
    rows = [row for gallery in galleries for row in gallery.rows]
    hits = []
    for i in fused.argsort()[::-1].tolist():
        row = rows[i]
        part = row["duration"] / kept
        start = row["start"] + int(frame[i]) * part
        hits.append(Hit(float(fused[i]), row["file"], row["category"], row["task"], start, start + part))
    return hits
