"""`reference`: what zero-shot CLIP scores on a benchmark where it was published; trains nothing, chooses nothing."""

from typing import Annotated, Literal

from pydantic import Field

from structalign.params.section import Section


class Reference(Section):
    zero_shot: Annotated[float, Field(ge=0, le=100)] | Literal["none"] = Field(
        description="published R@1 of zero-shot CLIP by the sentence alone, percent",
        json_schema_extra={"paper": "22.14 (MSRVTT), 14.89 (ActivityNet)"},
    )
    categories: Annotated[int, Field(ge=1, le=1_000_000)] | Literal["none"] = Field(
        description="how many categories it was published for; evaluate compares once so many are asked for",
        json_schema_extra={"paper": "20 (MSRVTT), 200 (ActivityNet)"},
    )
