"""A gallery larger than memory: queries scored and ranked against memory-mapped videos, block by block.

    python -m benchmarks scale --videos 200000 --queries 500 --dim 128

The galleries of 20 tasks are random unit vectors. The functions are those of the embed stage. Two kinds of memory are
reported: the process's own, and pages of mapped files, which the system reclaims when it needs them.
"""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.measuring import Memory
from benchmarks.table import machine
from structalign.evaluation.metrics import measure
from structalign.evaluation.ranks import rank
from structalign.evaluation.score_files import bytes_a_pair, queries_at_once
from structalign.formats import INDEX_FORMAT
from structalign.model.video_text import TextEmbeddings
from structalign.params.ranking import Ranking
from structalign.search.index import Gallery, Index, write_gallery, write_index, write_signals
from structalign.search.scoring import score, side_by_side
from structalign.search.signal import Comparison, observe
from structalign.store import write_json

TASKS, WORDS = 20, 12
PROJECTED = 10_000  # queries


def scale(
    videos: Annotated[int, typer.Option(help="videos of the gallery")] = 200_000,
    queries: Annotated[int, typer.Option(help="number of captions, each of 4 to 12 words")] = 500,
    frames: Annotated[int, typer.Option(help="frames of a video")] = 12,
    dim: Annotated[int, typer.Option(help="dimension of an embedding")] = 512,
    folder: Annotated[Path | None, typer.Option(help="folder for the galleries during the run")] = None,
    json: Annotated[Path, typer.Option("--json", help="file for the results")] = Path("scale.json"),
) -> None:
    """Rank queries against a gallery larger than memory."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        index = lay(Path(place), videos, frames, dim)
        galleries = Index(index).galleries("test")
        with Memory() as memory:
            start, begun = time.perf_counter(), time.process_time()
            found = ranked(galleries, videos, queries, dim)
            seconds, busy = time.perf_counter() - start, time.process_time() - begun
    row = {
        "videos": videos,
        "queries": queries,
        "frames": frames,
        "dim": dim,
        "threads": torch.get_num_threads(),
        "queries_at_once": queries_at_once(queries, videos),
        "gallery_mib": 2 * videos * frames * dim * 4 // 2**20,
        "matrices_mib": videos * queries * bytes_a_pair() // 2**20,
        "seconds": round(seconds, 1),
        "processor_seconds": round(busy, 1),
        "own_peak_mib": memory.own // 2**20,
        "mapped_peak_mib": memory.mapped // 2**20,
        "R@1": found["t2v"]["R@1"],
        "projected": {
            "queries": PROJECTED,
            "processor_hours": round(busy / queries * PROJECTED / 3600, 2),
            "matrices_mib": videos * PROJECTED * bytes_a_pair() // 2**20,
            "fused_columns_mib": 2 * 8 * PROJECTED * min(PROJECTED, videos) // 2**20,
        },
    }
    write_json(json, {"machine": machine(), **row})
    typer.echo(json.read_text(encoding="utf-8"))


def lay(folder: Path, videos: int, frames: int, dim: int) -> Path:
    """Write the galleries of TASKS tasks as the embed stage does. Returns the newest index."""
    previous = folder / "t00.json"
    write_json(previous, {"format": INDEX_FORMAT, "galleries": []})
    for number, part in enumerate(np.array_split(np.arange(videos), TASKS), start=1):
        task, source = f"t{number:02d}", torch.Generator().manual_seed(number)
        (folder / task).mkdir()
        stored, zero_shot = (torch.randn(len(part), frames, dim, generator=source) for _ in range(2))
        rows = [{"id": str(video), "task": task} for video in part.tolist()]
        write_gallery(folder / task, "test", rows, stored, zero_shot)
        write_signals(folder / task, observe(captions(2, dim, number), torch.tensor([0, 1]), number))
        write_index(index := folder / f"{task}.json", previous, task, folder / task, "random")
        previous = index
    return index


def ranked(galleries: list[Gallery], videos: int, queries: int, dim: int) -> dict[str, Any]:
    """The metrics of `queries` captions, whose videos are spread over the gallery."""
    ground_truth = np.arange(queries) * videos // queries
    video_tasks = [row["task"] for part in galleries for row in part.rows]
    at_once = queries_at_once(queries, videos)

    def blocks() -> Iterator[dict[str, NDArray[Any]]]:
        for start in range(0, queries, at_once):
            text = captions(min(at_once, queries - start), dim, start)
            method = side_by_side([score(Comparison(text, text, part.frames), {}) for part in galleries])
            plain = side_by_side([score(Comparison(text, text, part.zero_shot), {}) for part in galleries])
            scores = {"best_frame": method["best_frame"]}
            for name in ("words", "sentence"):
                scores |= {f"method.{name}": method[name], f"zero_shot.{name}": plain[name]}
            yield {name: values.numpy() for name, values in scores.items()}

    ranks = rank(blocks(), ground_truth, video_tasks, ranking=Ranking(beta=0.5, task_prior=0))
    return measure(ranks, "method", ground_truth, video_tasks, list(dict.fromkeys(video_tasks)))


def captions(count: int, dim: int, seed: int) -> TextEmbeddings:
    """Random captions of 4 to WORDS words, one tile after another."""
    source = torch.Generator().manual_seed(1000 + seed)
    length = torch.randint(4, WORDS + 1, (count,), generator=source)
    words: Tensor = torch.randn(count, WORDS, dim, generator=source)
    mask = torch.arange(WORDS) < length[:, None]
    return TextEmbeddings(words, mask, torch.randn(count, dim, generator=source), torch.where(mask, 1, -1))
