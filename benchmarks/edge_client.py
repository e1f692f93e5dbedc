"""Qdrant's engine in this process (qdrant-edge-py), behind the calls of qdrant-client that the adapter makes."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import qdrant_edge as edge
from qdrant_client import models as m

KINDS = {"integer": edge.PayloadSchemaType.Integer, "keyword": edge.PayloadSchemaType.Keyword}


class EdgeClient:
    """A client of one collection of vectors of `dim` numbers. It is a folder, and is loaded if that exists."""

    def __init__(self, folder: Path, dim: int):
        self.folder, self.dim = folder, dim
        self.shard = edge.EdgeShard.load(str(folder)) if folder.exists() else None

    @property
    def open(self) -> edge.EdgeShard:
        assert self.shard is not None
        return self.shard

    def collection_exists(self, name: str) -> bool:
        return self.shard is not None

    def create_collection(self, name: str, vectors_config: m.VectorParams, **_: Any) -> None:
        assert vectors_config.distance == m.Distance.DOT
        self.folder.mkdir(parents=True)
        vectors = edge.EdgeVectorParams(size=vectors_config.size, distance=edge.Distance.Dot)
        self.shard = edge.EdgeShard.create(str(self.folder), edge.EdgeConfig(vectors=vectors, wal_enabled=True))

    def get_collection(self, name: str) -> Any:
        vectors = m.VectorParams(size=self.dim, distance=m.Distance.DOT)
        return SimpleNamespace(config=SimpleNamespace(params=SimpleNamespace(vectors=vectors)))

    def create_payload_index(self, name: str, field: str, field_schema: m.PayloadSchemaType) -> None:
        self.open.update(edge.UpdateOperation.create_field_index(field, KINDS[field_schema.value]))

    def retrieve(self, name: str, ids: Sequence[str], with_payload: list[str]) -> list[edge.Record]:
        return self.open.retrieve(list(ids), with_payload, False)

    def upsert(self, name: str, points: Sequence[m.PointStruct], wait: bool) -> None:
        made = [edge.Point(str(p.id), list(p.vector), dict(p.payload or {})) for p in points]  # type: ignore[arg-type]
        self.open.update(edge.UpdateOperation.upsert_points(made))

    def count(self, name: str, exact: bool) -> Any:
        return SimpleNamespace(count=self.open.count(edge.CountRequest(exact=exact)))

    def scroll(self, name: str, limit: int, offset: Any, with_payload: bool, with_vectors: bool) -> Any:
        return self.open.scroll(edge.ScrollRequest(offset, limit, None, with_payload, with_vectors))

    def delete(self, name: str, chosen: m.PointIdsList, wait: bool) -> None:
        self.open.update(edge.UpdateOperation.delete_points([str(id) for id in chosen.points]))

    def query_batch_points(self, name: str, requests: Sequence[m.QueryRequest]) -> Any:
        return [SimpleNamespace(points=self._query(request)) for request in requests]

    def _query(self, asked: m.QueryRequest) -> list[edge.ScoredPoint]:
        assert asked.filter is not None
        assert isinstance(asked.filter.must, list)
        assert asked.params is not None
        must: list[Any] = [edge.FieldCondition(c.key, match=edge.MatchValue(c.match.value)) for c in asked.filter.must]  # type: ignore[union-attr]
        near = edge.Query.Nearest(asked.query)  # type: ignore[arg-type]
        return self.open.query(
            edge.QueryRequest(limit=asked.limit or 10, query=near, filter=edge.Filter(must=must),
                              with_payload=asked.with_payload,  # type: ignore[arg-type]
                              with_vector=False, params=edge.SearchParams(hnsw_ef=asked.params.hnsw_ef))
        )  # fmt: skip
