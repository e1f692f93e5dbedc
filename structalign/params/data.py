"""`data`: what happens with broken, damaged and slow videos."""

from typing import Literal

from pydantic import Field

from structalign.params.section import Section


class DataParams(Section):
    on_broken: Literal["skip", "stop"] = Field(description="skip a video that cannot be decoded, or stop the run")
    on_damaged: Literal["use", "skip", "stop"] = Field(
        default="use",
        description="use a video that decodes with errors and note it, skip it, or stop the run",
    )
    timeout: float = Field(
        gt=0, le=86400, description="seconds allowed to decode a video, per minute of its length if longer"
    )
