"""`method`: which row of the methods table is trained."""

from typing import Literal

from pydantic import Field

from structalign.params import Section


class MethodName(Section):
    name: Literal[
        "structalign",
        "finetune",
        "zero_shot",
        "head_only",
        "clip4clip",
        "lwf",
        "vr_lwf",
        "zscl",
        "xpool",
        "moe_adapter",
        "stablefusion",
        "replay",
        "structalign_released",
    ] = Field(description="a row of the methods table", json_schema_extra={"paper": "structalign"})
