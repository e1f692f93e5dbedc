"""`adapters`: the task-aware LoRA mixture of the text tower."""

from pydantic import Field

from structalign.params import Section


class Adapters(Section):
    rank: int = Field(ge=1, description="rank r of the LoRA mixture", json_schema_extra={"paper": "64"})
    alpha: float = Field(
        gt=0, description="LoRA scale a; an update is multiplied by a / r", json_schema_extra={"paper": "256"}
    )
    experts: int = Field(
        ge=2,
        description="experts of the mixture; two are chosen per caption",
        json_schema_extra={"paper": "10 (MSRVTT), 5 (ActivityNet)"},
    )
    dropout: float = Field(ge=0, lt=1, description="dropout on the LoRA input", json_schema_extra={"paper": "0.1"})
