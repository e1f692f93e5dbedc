"""`data`: how broken, damaged and slow videos are met."""

from typing import Literal

from pydantic import Field

from structalign.params.section import Section


class DataParams(Section):
    on_broken: Literal["skip", "stop"] = Field(
        description="a video that cannot be decoded is quarantined, or stops the run"
    )
    on_damaged: Literal["use", "skip", "stop"] = Field(
        default="use",
        description="a video that decodes with errors is used with a note, or quarantined, or stops the run",
    )
    timeout: float = Field(
        gt=0, le=86400, description="seconds a video may take to decode, for each minute of a longer one"
    )
