"""Candidates from a graph index (HNSW), as Qdrant builds one, against those of a scan.

The engine is Qdrant's in this process (qdrant-edge-py), with its default graph. The project is that of
`benchmarks.candidates`: clustered videos, ten tasks, captions given as vectors.
"""

import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer

from benchmarks.candidates import give_captions, lay_once, opened
from benchmarks.measuring import cpu_seconds
from benchmarks.table import machine
from structalign.errors import UserError
from structalign.library.agreement import TOP
from structalign.library.engines.protocol import Engine
from structalign.library.entries import Filters
from structalign.library.limits import FIRST
from structalign.library.project_index import ProjectIndex
from structalign.store import write_json

NAME = "benchmark"


@torch.inference_mode()
def graph(
    videos: Annotated[int, typer.Option(min=1, help="added videos; below 5,000 a task the engine scans")] = 100_000,
    queries: Annotated[int, typer.Option(min=1, help="captions")] = 50,
    wide: Annotated[list[int] | None, typer.Option(help="neighbours that a search keeps for each candidate")] = None,
    seed: Annotated[int, typer.Option(help="of the videos and captions")] = 0,
    folder: Annotated[Path | None, typer.Option(help="keep the project here, or use the one that is there")] = None,
    json: Annotated[Path, typer.Option("--json", help="file for the results")] = Path("graph.json"),
) -> None:
    """Recall of a graph index against the scan, and what it does to the top 10."""
    try:
        from benchmarks.edge_client import EdgeClient
        from structalign.library.engines.qdrant import WIDE, Qdrant
    except ModuleNotFoundError as error:  # of two extras: the client's has no engine
        raise UserError(f"{error.name} is not installed: run `pip install 'structalign[test]'`.") from error

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        project = (folder or Path(temporary) / "project").resolve()
        lay_once(project, videos, seed)
        index = opened(project)
        asked = give_captions(index, videos, queries, seed)
        blocks = index.finder.blocks
        client: Any = EdgeClient(Path(temporary) / "edge", blocks[0].vectors.shape[1])
        engine = Qdrant(client, NAME, index._tasks)
        pushing = cpu_seconds(lambda: engine.push(index.entries, blocks))
        building = cpu_seconds(client.open.optimize)
        about = client.open.info()
        found: dict[str, Any] = {
            "videos": videos,
            "push_cpu_s": round(pushing, 1),
            "graph_cpu_s": round(building, 1),
            "in_graph": about.indexed_vectors_count,
            "graph_bytes": sum(file.stat().st_size for file in client.folder.glob("segments/*/vector_index/*")),
        }
        typer.echo(str(found))
        rare = rarely(index, engine, asked[0]), rarely(index, index.finder.engine, asked[0])
        found["rare"], found["rare_scanned"] = map(len, rare)
        assert rare[0] == rare[1]
        scanned = [compared(index, index.finder.engine, sentence) for sentence in asked]
        for size in wide or [WIDE]:
            wider = replace(engine, wide=size)
            begin = time.process_time()
            others = [compared(index, wider, sentence) for sentence in asked]
            took = (time.process_time() - begin) / len(asked)
            one = {
                "recall": mean(len(a[0] & b[0]) / len(a[0]) for a, b in zip(scanned, others, strict=True)),
                "top_10": mean(len(set(a[1]) & set(b[1])) / TOP for a, b in zip(scanned, others, strict=True)),
                "top_1": mean(float(a[1][:1] == b[1][:1]) for a, b in zip(scanned, others, strict=True)),
                "cpu_ms": round(1000 * took, 1),
            }
            typer.echo(f"{size} neighbours for each candidate: {one}")
            found[f"wide_{size}"] = one
    write_json(json, {"machine": machine()} | found)


def rarely(index: ProjectIndex, engine: Engine, sentence: str) -> list[int]:
    """The positions of the candidates in the rare category, best first."""
    asked = index._asked(sentence)
    return list(replace(index.finder, engine=engine).ranked(asked, FIRST, Filters(category="rare")).scores)


def compared(index: ProjectIndex, engine: Engine, sentence: str) -> tuple[set[int], list[int]]:
    """The positions of the candidates that an engine finds, and of the first 10 of them by score."""
    ranked = replace(index.finder, engine=engine).ranked(index._asked(sentence), FIRST, Filters())
    places = list(ranked.scores)
    return set(places), places[:TOP]


def mean(values: Any) -> float:
    return round(float(np.mean(list(values))), 4)
