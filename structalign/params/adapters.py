"""`adapters`: frame fusion in the vision tower, the LoRA mixture in the text tower, and which tokens are words."""

from typing import Literal

from pydantic import Field

from structalign.params.section import Section


class Adapters(Section):
    rank: int = Field(ge=1, le=4096, description="rank r of the LoRA mixture", json_schema_extra={"paper": "64"})
    alpha: float = Field(
        gt=0,
        le=100_000,
        description="scale alpha of LoRA: an update is multiplied by alpha / rank",
        json_schema_extra={"paper": "256"},
    )
    experts: int = Field(
        ge=2,
        le=1024,
        description="experts of the mixture, of which each caption uses two",
        json_schema_extra={"paper": "10 (MSRVTT), 5 (ActivityNet)"},
    )
    dropout: float = Field(ge=0, lt=1, description="dropout on the LoRA input", json_schema_extra={"paper": "0.1"})
    fusion_init: Literal["identity", "uniform"] = Field(
        description="initial fusion projections: the identity, or U(-1/sqrt(W), 1/sqrt(W)) with zero bias",
        json_schema_extra={"paper": "identity (text), uniform (released code)"},
    )
    words: Literal["strict", "with_padding"] = Field(
        description="tokens between start and end, or also padding but not '!' (then scores depend on the batch)",
        json_schema_extra={"paper": "with_padding (released code)"},
    )
