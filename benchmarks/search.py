"""CPU time of a search's parts on one thread: encoding the sentence, ranking, and opening an index.

There is no plain side. Vectors are random, and the sentence has ten words.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from torch.nn import functional as F

from benchmarks import made
from benchmarks.candidates import REAL, lay_once, measured
from benchmarks.table import machine
from structalign.library.folder_index import FolderIndex
from structalign.library.store import Catalogue, Content, Encoding, File, Row, writing
from structalign.model.text_encoding import encode_as_tasks, encode_zero_shot
from structalign.model.video_text import TextEmbeddings
from structalign.search.fusion import fuse
from structalign.search.scoring import score
from structalign.search.signal import Comparison, prepared
from structalign.search.similarity_heads import FUSED
from structalign.store import write_json

FRAMES, WORDS = 12, 10
EXACT = 10_000  # videos that are ranked exactly, at most
WEIGHTS = {"words": 0.5, "sentence": 0.5, "task_prior": 0.0}


@torch.inference_mode()
def search(
    videos: Annotated[int, typer.Option(min=1, help="added videos of a project, of 12 frames each")] = 10_000,
    stored: Annotated[int, typer.Option(min=1, help="segments of the opened index")] = 100_000,
    prototypes: Annotated[int, typer.Option(min=1, help="number of tasks that the sentence is encoded as")] = 10,
    queries: Annotated[int, typer.Option(min=1, help="captions that are searched by candidates")] = 50,
    agree: Annotated[int, typer.Option(min=0, help="of these, how many are also ranked exactly")] = 10,
    seed: Annotated[int, typer.Option(help="of the videos and captions that are searched by candidates")] = 0,
    folder: Annotated[Path | None, typer.Option(help="keep the project here, or use the one that is there")] = None,
    repeats: Annotated[int, typer.Option(min=1, help="number of calls; the median is reported")] = 5,
    tiny: Annotated[bool, typer.Option("--toy", help="a tiny CLIP, to try the command")] = False,
    json: Annotated[Path, typer.Option("--json", help="file for the results")] = Path("search.json"),
) -> None:
    """CPU time of a search: encoding, exact ranking of up to 10,000 videos, opening, and candidates."""
    torch.set_num_threads(1)
    size = made.size_of(tiny)
    clip = made.random_clip(size)
    model, _ = made.model_for(
        clip, size, "structalign", made.settings(size, prototypes, 32, "fp32"), prototypes, FRAMES
    )
    tokens, cpu = made.captions(size, 1), torch.device("cpu")
    dim = clip.embedding_dim
    found = {f"encoding as {prototypes} tasks": processor_ms(
        lambda: encode_as_tasks(model.eval(), tokens, range(1, prototypes + 1), cpu), repeats
    )}  # fmt: skip
    found["encoding by zero-shot CLIP"] = processor_ms(lambda: encode_zero_shot(clip, model, tokens, cpu), repeats)
    ranked = min(videos, EXACT)
    frames = F.normalize(torch.randn(ranked, FRAMES, dim), dim=-1)
    text = TextEmbeddings(torch.randn(1, WORDS, dim), torch.ones(1, WORDS, dtype=torch.bool), torch.randn(1, dim))
    frames, vectors = prepared(frames, FUSED)
    found[f"exact, {ranked:,} videos"] = processor_ms(lambda: rank(text, frames, vectors), repeats)
    with tempfile.TemporaryDirectory() as temporary:
        store(Path(temporary), stored, dim)
        found[f"opening {stored:,} segments"] = processor_ms(lambda: FolderIndex(Path(temporary)), 1)
        index = FolderIndex(Path(temporary))
        index._encoded["again"] = np.asarray(index.entries.means[0])
        found[f"a repeated query among {stored:,} segments"] = processor_ms(lambda: index.search("again"), repeats)
    for name, milliseconds in found.items():
        typer.echo(f"{name}: {milliseconds:.1f} ms")
    with tempfile.TemporaryDirectory() as temporary:
        project = folder or Path(temporary) / "project"
        lay_once(project, videos, seed)
        among = measured(project, videos, queries, agree if videos <= REAL else 0, seed)
    for name, value in among.items():
        typer.echo(f"candidates among {videos:,}: {name} {value}")
    values = {"videos": videos, "stored": stored, "processor_ms": found, "candidates": among}
    write_json(json, {"machine": machine()} | values)


def processor_ms(work: Callable[[], object], repeats: int) -> float:
    """The median of `repeats` calls. If there are several, a warm-up call comes first."""
    taken = []
    for _ in range(repeats + (repeats > 1)):
        start = time.process_time()
        work()
        taken.append(1000 * (time.process_time() - start))
    return round(statistics.median(taken[1:] or taken), 2)


def rank(text: TextEmbeddings, frames: torch.Tensor, vectors: torch.Tensor | None) -> object:
    """The order of the videos by the fused score."""
    matrices = score(Comparison(text, text, frames, vectors=vectors), {}, shared=False)
    matrices.pop("best_frame")
    return fuse({name: matrix.numpy() for name, matrix in matrices.items()}, WEIGHTS)[0].argsort()


def store(path: Path, count: int, dim: int) -> None:
    """Write an index of `count` files with one segment each."""
    source = np.random.default_rng(0)
    about = {"kind": "folders", "folders": [], "backbone": {}, "sampling": {}}
    with writing(path, about) as writer:
        contents = [f"{number:064x}" for number in range(count)]
        rows = [Row(f"{c}-0", c, 0.0, 20.0, [float(second) for second in range(FRAMES)]) for c in contents]
        entries = []
        for start in range(0, count, 20_000):
            part = rows[start : start + 20_000]
            frames = np.broadcast_to(
                source.standard_normal((1, FRAMES, dim)).astype(np.float16), (len(part), FRAMES, dim)
            )
            means = source.standard_normal((len(part), dim)).astype(np.float32)
            means /= np.linalg.norm(means, axis=1, keepdims=True)
            entries.append(writer.shard(part, Encoding("0"), frames, means))
            writer.snapshot.shards[:] = entries  # so that the next entry gets another number
        files = {f"/videos/{c}.mp4": File(c, 1, 1) for c in contents}
        writer.commit(Catalogue(files, dict.fromkeys(contents, Content(20.0, "direct"))), entries)
