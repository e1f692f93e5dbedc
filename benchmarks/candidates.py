"""Search by candidates in a project with many added videos: time, memory, and agreement with exact ranking.

A project of ten tasks with a tiny CLIP is written, with `added/` of that many clustered videos of 12 frames, D = 512.
It is opened and searched in a process that encodes no sentence: the captions are given as vectors. Above 100,000 videos
all shards map one file of frames. Then scores mean nothing, and agreement is not measured.
"""

import hashlib
import json
import os
import subprocess
import sys
import time
from contextlib import chdir
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import torch
from torch.nn import functional as F

from benchmarks import made
from benchmarks.clustered import FRAME, Clusters, captions, clusters
from benchmarks.searching import TASKS, lay_project
from structalign.errors import UserError
from structalign.library.agreement import TOP
from structalign.library.chain import read_chain
from structalign.library.encoded_sentences import Encoded
from structalign.library.entries import Filters
from structalign.library.limits import FIRST
from structalign.library.project_index import ProjectIndex
from structalign.library.store import Catalogue, Content, Encoding, File, Row, ShardEntry, Writer, open_shard, writing
from structalign.library.table_writing import write_table
from structalign.model.video_text import TextEmbeddings
from structalign.paths import ADDED
from structalign.search.fusion import fuse
from structalign.search.scoring import Matrices, side_by_side
from structalign.search.similarity import video_vectors
from structalign.search.similarity_heads import FUSED
from structalign.store import digest, read_json, write_json

DIM, FRAMES, WORDS = 512, 12, 10
SHARD = 20_000  # videos of a shard
REAL = 100_000  # videos, up to which each has its own frames
WARM = 3  # sentences that are searched before any is timed
RARE = 10_000  # one video of so many has the category `rare`
LAID = "laid.json"  # in the project's folder: the number and the seed of its videos
TIMES = [float(second) for second in range(FRAMES)]


def lay_once(folder: Path, videos: int, seed: int) -> None:
    """Write the project, unless it is there. Raises `UserError` if it has another number or seed of videos.

    The captions of another number or seed are about other videos.
    """
    if not folder.exists():
        lay(folder, videos, seed)
    if not (folder / LAID).is_file():
        raise UserError(f"{folder} is no finished project of this benchmark: name another --folder.")
    laid = read_json(folder / LAID)
    if laid != {"videos": videos, "seed": seed}:
        raise UserError(
            f"{folder} was made with --videos {laid['videos']} --seed {laid['seed']}: pass these, or another --folder."
        )


def lay(folder: Path, videos: int, seed: int = 0) -> None:
    """Write the project. seed: of its videos."""
    folder.mkdir(parents=True)
    with chdir(folder):
        lay_project(replace(made.TINY, dim=DIM), 10 * TASKS)
        fingerprints = read_chain(Path()).fingerprints()
        shapes = clusters(TASKS, DIM, seed)
        with writing(ADDED, {"kind": "added"}) as writer:
            entries, files, contents, number = list[ShardEntry](), dict[str, File](), dict[str, Content](), 0
            for task in range(TASKS):
                for first in range(0, videos // TASKS, SHARD):
                    count = min(SHARD, videos // TASKS - first)
                    rows = [row(number + i) for i in range(count)]
                    for i, one in enumerate(rows, start=number):
                        category = "rare" if i % RARE == 0 else f"category {i % 20}"
                        contents[one.content] = Content(20.0, "direct", category=category)
                        files[f"/films/{i % 100}/{i}.mp4"] = File(one.content, 1, 1)
                    encoding = Encoding(fingerprints[task], task + 1)
                    entries.append(shard(writer, rows, encoding, shapes, task, first, videos <= REAL))
                    writer.snapshot.shards[:] = entries
                    number += count
            writer.commit(Catalogue(files, contents), entries)
            write_table(writer.snapshot, [open_shard(ADDED, entry, verify=False) for entry in entries])
        write_json(Path(LAID), {"videos": videos, "seed": seed})


def row(number: int) -> Row:
    content = hashlib.sha256(str(number).encode()).hexdigest()
    return Row(f"{content[:16]}-0", content, 0.0, 20.0, TIMES)


def shard(
    writer: Writer, rows: list[Row], encoding: Encoding, shapes: Clusters, task: int, first: int, real: bool
) -> ShardEntry:
    """Write a shard. If its frames are not real, they are those of the first shard."""
    count, before = len(rows), writer.snapshot.shards
    if real or not before:
        parts = [shapes.videos(task, first + at, min(1000, count - at), FRAMES) for at in range(0, count, 1000)]
        frames = torch.cat([part.half() for part in parts])
        means = torch.cat([video_vectors(part) for part in parts]).numpy()
        return writer.shard(rows, encoding, frames.numpy(), means, means)
    own = shapes.videos(task, first, count, 1)[:, 0]
    noise = torch.randn(count, DIM) / DIM**0.5
    means = F.normalize(own + FRAME / FRAMES**0.5 * noise, dim=-1).numpy()
    folder = writer.path / "shards" / f"{len(before) + 1:06d}"
    folder.mkdir()
    write_json(folder / "rows.json", [vars(one) for one in rows])
    os.link(writer.path / "shards" / before[0].name / "frames.npy", folder / "frames.npy")
    np.save(folder / "means.npy", means)
    os.link(folder / "means.npy", folder / "zero_shot.npy")
    hashes = {name: digest(folder / name) for name in ("rows.json", "means.npy")}
    hashes |= {"zero_shot.npy": hashes["means.npy"], "frames.npy": before[0].files["frames.npy"]}
    return ShardEntry(folder.name, count, hashes, encoding)


def measured(folder: Path, videos: int, queries: int, agree: int, seed: int) -> dict[str, Any]:
    """`measure` in a process of its own, on one thread."""
    code = "import sys; from benchmarks.candidates import measure; measure(sys.argv[1], *map(int, sys.argv[2:]))"
    command = [sys.executable, "-c", code, str(folder), *map(str, (videos, queries, agree, seed))]
    # its errors and its progress are shown
    found: dict[str, Any] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    return found


def measure(folder: str, videos: int, queries: int, agree: int, seed: int) -> None:
    """Open and search the project, and print what it took as JSON."""
    torch.set_num_threads(1)
    wall, cpu = time.perf_counter(), time.process_time()
    index = opened(Path(folder))
    index.finder.sample  # noqa: B018
    found: dict[str, Any] = {
        "start_s": round(time.perf_counter() - wall, 2),
        "start_cpu_s": round(time.process_time() - cpu, 2),
        "mode": index.mode(),
    }
    sentences = give_captions(index, videos, queries + WARM, seed)
    warm, asked = sentences[:WARM], sentences[WARM:]
    for name, options in {"": {}, "_rare": {"category": "rare"}, "_of_2000": {"candidates": 2000}}.items():
        taken = []
        for sentence in (*warm, *asked):
            begin = time.process_time()
            results = index.results(sentence, 24, mode="candidates", **cast(Any, options))
            taken.append(1000 * (time.process_time() - begin))
        found[f"p50{name}_ms"], found[f"p95{name}_ms"] = np.percentile(taken[WARM:], [50, 95]).round(1).tolist()
        found[f"hits{name}"] = len(results.hits)
    found |= memory()
    print(found, file=sys.stderr)
    if agree:
        found |= agreeing(index, asked[:agree])
    print(json.dumps(found))


class Given:
    """Sentences that are already encoded, in place of `EncodedSentences`."""

    def __init__(self, encoded: dict[str, Encoded]):
        self.encoded = encoded

    def of(self, sentence: str) -> Encoded:
        return self.encoded[sentence]


def opened(folder: Path) -> ProjectIndex:
    """The project without its CLIP."""
    index = ProjectIndex(folder)
    encoder = SimpleNamespace(head=FUSED, model=None)
    index.retriever = cast(Any, SimpleNamespace(encoder=encoder, tokeniser=None))
    return index


def give_captions(index: ProjectIndex, videos: int, count: int, seed: int) -> list[str]:
    """Make `count` captions, and put their encodings in place of the index's encoder. Returns their names."""
    texts = captions(clusters(TASKS, DIM, seed), count, videos // TASKS, WORDS)
    encoded: dict[str, Encoded] = {
        f"caption {number}": (dict(enumerate(text, start=1)), text[0]) for number, (_, text) in enumerate(texts)
    }
    index._encoded = cast(Any, Given(encoded))
    return list(encoded)


def agreeing(index: ProjectIndex, sentences: list[str]) -> dict[str, Any]:
    """The agreement of candidates with exact ranking, and exact ranking's CPU time.

    found: the share of exact ranking's first ten among the candidates. They are only ordered differently if mean and
    deviation of the similarities are not exact.
    """
    index.results(sentences[0], TOP, mode="exact")
    begin = time.process_time()
    first = [hit.id for hit in index.results(sentences[0], TOP, mode="exact").hits]
    found: dict[str, Any] = {"exact_ms": round(1000 * (time.process_time() - begin), 1), "sentences": len(sentences)}
    shares: dict[str, list[float]] = {"found": [], "top_10": [], "top_1": []}
    orders = exact(index, sentences)
    assert orders[0] == first
    for sentence, order in zip(sentences, orders, strict=True):
        ranked = index.finder.ranked(index._asked(sentence), FIRST, Filters())
        among = index.entries.ids(list(ranked.scores))
        shares["found"].append(len(set(order) & set(among)) / TOP)
        shares["top_10"].append(len(set(order) & set(among[:TOP])) / TOP)
        shares["top_1"].append(float(order[0] == among[0]))
    return found | {name: round(float(np.mean(values)), 4) for name, values in shares.items()}


def exact(index: ProjectIndex, sentences: list[str]) -> list[list[str]]:
    """The first ids of exact ranking of each sentence, as `index.results` gives them. Each shard is read once for all.

    Each segment is a file here.
    """
    scorer, rows = index._scorer, [list[Matrices]() for _ in sentences]
    for stored in index._parts:
        for part in stored.pieces(FUSED):
            for sentence, row in zip(sentences, rows, strict=True):
                texts, plain = index._encoded.of(sentence)
                row.append(scorer._matrices(part, texts[part.gallery.encoded_as], cast(TextEmbeddings, plain)))
        print(f"ranked exactly: {len(stored):,} videos more", file=sys.stderr)
    orders = []
    for row in rows:
        matrices = side_by_side(row)
        matrices.pop("best_frame")
        scores = fuse({name: matrix.numpy() for name, matrix in matrices.items()}, index.weights)[0]
        orders.append(index.entries.ids(np.argsort(-scores, kind="stable")[:TOP].tolist()))
    return orders


def memory() -> dict[str, float]:
    """Anonymous and mapped memory of this process, and their largest sum, GiB."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    told = dict(line.split(":", 1) for line in lines if ":" in line)
    return {name: round(int(told[key].split()[0]) / 2**20, 2) for name, key in
            (("anonymous_gib", "RssAnon"), ("mapped_gib", "RssFile"), ("peak_gib", "VmHWM"))}  # fmt: skip
