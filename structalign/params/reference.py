"""`reference`: the published score of zero-shot CLIP on a benchmark, only used for a sanity check."""

from typing import Annotated, Literal

from pydantic import Field

from structalign.params.section import Section


class Reference(Section):
    zero_shot: Annotated[float, Field(ge=0, le=100)] | Literal["none"] = Field(
        description="published R@1 (percent) of zero-shot CLIP by sentence similarity",
        json_schema_extra={"paper": "22.14 (MSRVTT), 14.89 (ActivityNet)"},
    )
    categories: Annotated[int, Field(ge=1, le=1_000_000)] | Literal["none"] = Field(
        description="number of categories of the published score; evaluate compares at this number",
        json_schema_extra={"paper": "20 (MSRVTT), 200 (ActivityNet)"},
    )
