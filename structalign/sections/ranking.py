"""`ranking`: how the two similarities are fused."""

from pydantic import Field

from structalign.params import Section


class Ranking(Section):
    beta: float = Field(
        ge=0,
        le=1,
        description="share of word-frame similarity in the fused score",
        json_schema_extra={"paper": "0.5"},
    )
