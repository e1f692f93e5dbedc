"""`ranking`: how the two similarities are fused, and what the task prior adds."""

from pydantic import Field

from structalign.params import Section


class Ranking(Section):
    beta: float = Field(
        ge=0,
        le=1,
        description="share of word-frame similarity in the fused score",
        json_schema_extra={"paper": "0.5"},
    )
    task_prior: float = Field(
        ge=0,
        description="weight of log p(task | caption) in the fused score",
        json_schema_extra={"paper": "0"},
    )
