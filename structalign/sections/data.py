"""`data`: how broken and slow videos are met."""

from typing import Literal

from pydantic import Field

from structalign.params import Section


class Data(Section):
    on_broken: Literal["skip", "stop"] = Field(
        description="a video that cannot be decoded is quarantined, or stops the run"
    )
    timeout: float = Field(gt=0, description="seconds one video may take to decode")
