"""The engine Qdrant: a server, or a cluster that shards and replicates a collection by itself.

A point is a segment: its unit vector, and as payload its id, the task that stored it, and what filters ask for. `mark`
is a digest of both, so a push sends only what changed, also after it was killed.
Letters: T tasks, V stored segments, D embedding.
"""

import hashlib
import json
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qdrant_client import QdrantClient
from qdrant_client import models as m
from qdrant_client.http.exceptions import ApiException, ResponseHandlingException

from structalign.console import track
from structalign.errors import UserError
from structalign.library.engines.scan import Block
from structalign.library.entries import Entries, Entry, Filters

SPACE = uuid.UUID("6b0f7e0c-6f0f-5b6e-9d0a-3f5c4b1f2a77")  # of the points' ids
ROWS = 500  # points of a request
SEEN = 10_000  # ids of a request
WIDE = 2  # with 1, a graph misses 1.5 % of the candidates; more than 2 hardly changes that
INDEXED = {
    "encoder": m.PayloadSchemaType.INTEGER,
    "category": m.PayloadSchemaType.KEYWORD,
    "task": m.PayloadSchemaType.KEYWORD,
    "folders": m.PayloadSchemaType.KEYWORD,
}


@dataclass(frozen=True)
class Pushed:
    """The numbers of points that were sent, removed, and unchanged."""

    sent: int
    removed: int
    unchanged: int


@dataclass(frozen=True)
class Qdrant:
    """A collection of a server. tasks: the numbers of the index's tasks, in its order.

    wide: how many neighbours a search of a graph keeps, for each candidate that is asked for.
    """

    client: QdrantClient
    collection: str
    tasks: Sequence[int]
    wide: int = WIDE

    def find(self, vectors: NDArray[np.float32], bonus: Sequence[float], k: int, filters: Filters) -> list[str]:
        """As of `Engine`: one request with a query for each task. Raises `UserError` if no server answers."""
        queries = [
            m.QueryRequest(
                query=vector.tolist(),
                filter=m.Filter(must=[_equals("encoder", number), *_conditions(filters)]),
                limit=k,
                params=m.SearchParams(hnsw_ef=self.wide * k),
                with_payload=["id"],
            )
            for number, vector in zip(self.tasks, vectors, strict=True)
        ]
        with answering(self.collection):
            answers = self.client.query_batch_points(self.collection, queries)
        found = [
            (-point.score - more, point.payload["id"])
            for answer, more in zip(answers, bonus, strict=True)
            for point in answer.points
            if point.payload is not None
        ]
        return [id for _, id in sorted(found)[:k]]

    def exists(self) -> bool:
        """Whether the collection was pushed."""
        with answering(self.collection):
            return self.client.collection_exists(self.collection)

    def count(self) -> int:
        """The number of segments in the collection."""
        with answering(self.collection):
            return self.client.count(self.collection, exact=True).count

    def push(self, entries: Entries, blocks: Sequence[Block], shards: int = 1, replicas: int = 1) -> Pushed:
        """Make the collection equal to an open index, and send only what differs.

        shards, replicas: of a new collection. Raises `UserError` if no server answers or the collection has vectors of
        another size.
        """
        with answering(self.collection):
            self._make(blocks[0].vectors.shape[1], shards, replicas)
            sent = sum(self._send(points) for points in track(_points(entries, blocks, self.tasks), "pushing"))
            return Pushed(sent, self._remove(entries), len(entries.rows) - sent)

    def _make(self, dim: int, shards: int, replicas: int) -> None:
        if self.client.collection_exists(self.collection):
            params = self.client.get_collection(self.collection).config.params.vectors
            if not isinstance(params, m.VectorParams) or params.size != dim:
                raise UserError(
                    f"the collection {self.collection} has other vectors than this index: name another collection with "
                    "STRUCTALIGN_QDRANT_COLLECTION."
                )
        else:
            self.client.create_collection(
                self.collection,
                vectors_config=m.VectorParams(size=dim, distance=m.Distance.DOT, on_disk=True),
                shard_number=shards,
                replication_factor=replicas,
            )
        for field, kind in INDEXED.items():  # each time, since a push may have been killed before
            self.client.create_payload_index(self.collection, field, field_schema=kind)

    def _send(self, points: list[m.PointStruct]) -> int:
        """Send the points that the server lacks or has with another mark. Returns how many."""
        there = self.client.retrieve(self.collection, [point.id for point in points], with_payload=["mark"])
        marks = {str(record.id): (record.payload or {}).get("mark") for record in there}
        fresh = [point for point in points if marks.get(str(point.id)) != (point.payload or {})["mark"]]
        if fresh:
            self.client.upsert(self.collection, fresh, wait=True)
        return len(fresh)

    def _remove(self, entries: Entries) -> int:
        """Remove the points that the index no longer has. Returns how many."""
        if self.client.count(self.collection, exact=True).count <= len(entries.rows):
            return 0
        own, gone, offset = {_point_id(entry.id) for entry in entries.rows}, list[str](), None
        while True:
            records, offset = self.client.scroll(
                self.collection, limit=SEEN, offset=offset, with_payload=False, with_vectors=False
            )
            gone += [str(record.id) for record in records if str(record.id) not in own]
            if offset is None:
                break
        for start in range(0, len(gone), SEEN):
            chosen = m.PointIdsList(points=list[int | str | uuid.UUID](gone[start : start + SEEN]))
            self.client.delete(self.collection, chosen, wait=True)
        return len(gone)


@contextmanager
def answering(collection: str) -> Iterator[None]:
    """Turn the client's errors into one sentence."""
    try:
        yield
    except ResponseHandlingException as error:
        raise UserError(
            f"no Qdrant answers at STRUCTALIGN_QDRANT ({error}): start it, or unset STRUCTALIGN_QDRANT."
        ) from None
    except (ApiException, ValueError) as error:
        said = " ".join(str(error).split())[:200]
        raise UserError(
            f"Qdrant refused the collection {collection} ({said}): push it with `structalign index push`."
        ) from None


def connected(url: str, key: str | None, collection: str, tasks: Sequence[int]) -> Qdrant:
    """The collection of the server at `url`."""
    return Qdrant(QdrantClient(url=url, api_key=key, check_compatibility=False, timeout=60), collection, tasks)


def _points(entries: Entries, blocks: Sequence[Block], tasks: Sequence[int]) -> Iterator[list[m.PointStruct]]:
    """All segments as points, some at a time."""
    first = 0
    for block in blocks:
        for start in range(0, len(block.vectors), ROWS):
            rows = np.asarray(block.vectors[start : start + ROWS], np.float32)
            some = range(first + start, first + start + len(rows))
            yield [_point(entries.rows[i], row, tasks[block.task]) for i, row in zip(some, rows, strict=True)]
        first += len(block.vectors)


def _point(entry: Entry, vector: NDArray[np.float32], number: int) -> m.PointStruct:
    files = (entry.file, *entry.also)
    payload: dict[str, Any] = {
        "id": entry.id,
        "encoder": number,
        "category": entry.category,
        "task": entry.task,
        "folders": sorted({str(above) for file in files for above in PurePath(file).parents}),
    }
    told = json.dumps(payload, sort_keys=True).encode()
    payload["mark"] = hashlib.sha256(told + vector.tobytes()).hexdigest()[:16]
    return m.PointStruct(id=_point_id(entry.id), vector=vector.tolist(), payload=payload)


def _point_id(id: str) -> str:
    return str(uuid.uuid5(SPACE, id))


def _conditions(filters: Filters) -> list[m.Condition]:
    asked = {"category": filters.category, "task": filters.task, "folders": filters.folder}
    return [_equals(name, value) for name, value in asked.items() if value is not None]


def _equals(name: str, value: str | int) -> m.Condition:
    return m.FieldCondition(key=name, match=m.MatchValue(value=value))
