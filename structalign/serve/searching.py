"""The search part of the API: the content of the index, and the videos that match a query."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import FastAPI, Query
from fastapi.responses import JSONResponse

from structalign.data.pretrained import unknown_words
from structalign.errors import UserError
from structalign.library.hits import Hit
from structalign.library.video_index import VideoIndex
from structalign.paths import BACKBONE
from structalign.serve.collection import Collection, now
from structalign.serve.errors import AGAIN
from structalign.serve.facets import facets
from structalign.serve.pages import REPORT
from structalign.serve.schema import BUSY, LIMIT, NO_ID, OFFSET, Explain, Search
from structalign.text import visible


def add_searching(app: FastAPI, collection: Collection) -> None:
    @app.get("/api/health", summary="Whether the server answers searches; 503 until it does")
    async def health() -> JSONResponse:
        if not collection.ready:
            return JSONResponse({"status": "opening", "error": "the index is being opened."}, 503, AGAIN)
        index = collection.index
        state = {"status": "ready", "generation": index.generation, "videos": index.files, "segments": len(index)}
        return JSONResponse(state | ({"changing": visible(collection.changing)} if collection.changing else {}))

    @app.get("/api/index", summary="The content of the index: counts, filters, and progress of indexing")
    async def about() -> dict[str, Any]:
        index = collection.index
        progress = index.progress()
        return {
            "videos": index.files,
            "segments": len(index),
            "generation": index.generation,
            "note": index.note and visible(index.note),
            "indexing": progress and asdict(progress),
            "generation_key": collection.opened,
            "report": (index.path / REPORT).is_file(),
            **facets(index).shown(),
        }

    @app.post("/api/search", responses=BUSY, summary="The videos that match a query, best first")
    async def search(asked: Search) -> JSONResponse:
        begin = now()

        def call(index: VideoIndex) -> dict[str, Any]:
            since = now()
            folder = facets(index).folder(asked.folder)
            results = index.results(
                asked.query, asked.limit, asked.category, asked.task, folder, asked.offset, asked.mode, asked.candidates
            )
            ranked = round(1000 * (now() - since), 1)
            found = {
                "generation": index.generation,
                "hits": _shown(results.hits, index),
                "candidates": results.candidates,
                "more": results.more,
                "took_ms": {"rank": ranked},
            }
            if unknown := unknown_words(index.path / BACKBONE, asked.query):
                found["note"] = (
                    f"the sample's tiny CLIP does not know {visible(', '.join(unknown))}: it ranks by the other words"
                )
            return found

        found = await collection.ask(call, " ".join(asked.query.split()))
        found["took_ms"]["all"] = round(1000 * (now() - begin), 1)
        found["end"] = len(found["hits"]) < asked.limit
        return JSONResponse(found)  # plain values, which FastAPI need not convert

    @app.post("/api/explain", responses=BUSY | NO_ID, summary="The cosine of each word with each frame of a segment")
    async def explain(asked: Explain) -> dict[str, Any]:
        if not asked.query.strip():
            raise UserError("the sentence is empty: describe what the video shows.")

        def call(index: VideoIndex) -> dict[str, Any]:
            times, words = index.word_frames(asked.query, asked.id)
            return {"times": times, "words": [{"word": visible(word), "cosines": found} for word, found in words]}

        return await collection.ask(call, " ".join(asked.query.split()))

    @app.get("/api/similar/{id}", responses=BUSY | NO_ID, summary="Videos that look like a given one")
    async def similar(
        id: str,
        limit: Annotated[int, Query(ge=1, le=LIMIT)] = 24,
        offset: Annotated[int, Query(ge=0, le=OFFSET)] = 0,
    ) -> dict[str, Any]:
        def call(index: VideoIndex) -> dict[str, Any]:
            hits = _shown(index.similar(id, limit, offset=offset), index)
            return {"generation": index.generation, "hits": hits, "end": len(hits) < limit}

        return await collection.ask(call)


def _shown(hits: Sequence[Hit], index: VideoIndex) -> list[dict[str, Any]]:
    """Hits as the API gives them, without places on this machine."""
    return [
        asdict(hit)
        | {"start": hit.start, "end": hit.end, "at": hit.moments[0].at, "file": visible(index.shown(hit.file))}
        | {"also": [visible(index.shown(file)) for file in hit.also]}
        for hit in hits
    ]
