"""The API's requests and errors, as `/docs` shows them."""

from typing import Annotated, Any, Literal

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field

from structalign.library.limits import FIRST, MOST

QUERY, LIMIT, OFFSET = 300, 100, 10_000  # at most: characters of a query, hits of an answer, hits before it
Time = Annotated[float, Query(ge=0, le=1e9, allow_inf_nan=False, description="Seconds of the file.")]
Responses = dict[int | str, dict[str, Any]]


class Error(BaseModel):
    """What is wrong and what to do."""

    error: str


def _errors(**texts: str) -> Responses:
    """Errors for the API's description. Keys are statuses, such as `s404`."""
    return {int(name.removeprefix("s")): {"model": Error, "description": text} for name, text in texts.items()}


EVERY = _errors(
    s401="The server has a token, and the request's token is missing or wrong.",
    s403="The request comes from a page of another site.",
    s408="The body comes too slowly.",
    s413="The body is too long.",
    s421="The request's host name is not one of the server's.",
    s422="The request is not as described, or the video cannot be shown.",
    s503="The index is being opened: try again after `Retry-After` seconds.",
)
BUSY = _errors(s429="Too many requests are waiting: try again after `Retry-After` seconds.")
MADE = BUSY | _errors(s507="The server's cache cannot be written: its disk may be full.")
UNPLAYED = _errors(s409="The file is too long to be copied.", s416="The Range begins after the end of the file.")
NO_ID = _errors(s404="There is no such id, or its file is missing.")


class Search(BaseModel):
    """A query and its filters."""

    model_config = ConfigDict(extra="forbid", strict=True)  # a misspelt filter must not be ignored
    query: str = Field(min_length=1, max_length=QUERY, description="What the video shows, in words.")
    limit: int = Field(24, ge=1, le=LIMIT)
    offset: int = Field(0, ge=0, le=OFFSET)
    category: str | None = Field(None, max_length=QUERY)
    task: str | None = Field(None, max_length=QUERY)
    mode: Literal["exact", "candidates"] | None = Field(
        None, description="Rank all videos, or only candidates. None: all while that is quick."
    )
    candidates: int | None = Field(
        None,
        ge=1,
        le=MOST,
        description=f"How many candidates to rank. None: {FIRST}, doubled until `limit` is reached.",
    )
    folder: str | None = Field(None, max_length=4096, description="One of the folders that /api/index lists.")


class Explain(BaseModel):
    """A query and the segment that it is compared with."""

    model_config = ConfigDict(extra="forbid", strict=True)
    query: str = Field(min_length=1, max_length=QUERY)
    id: str = Field(max_length=100)
