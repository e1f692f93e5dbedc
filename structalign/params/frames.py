"""`frames`: the number and size of the frames of a video."""

from pydantic import Field

from structalign.params.section import Section


class FramesParams(Section):
    per_video: int = Field(
        ge=1,
        le=256,
        description="frames sampled from a video",
        json_schema_extra={"paper": "12 (MSRVTT), 24 (ActivityNet)"},
    )
    size: int = Field(
        ge=16, le=2048, description="short side of a stored frame, pixels", json_schema_extra={"paper": "224"}
    )
