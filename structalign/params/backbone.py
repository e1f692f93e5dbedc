"""`backbone`: the pretrained CLIP of the model."""

from typing import Literal

from pydantic import Field

from structalign.params.section import Section


class Backbone(Section):
    name: str = Field(
        min_length=1,
        description="a CLIP folder, or a model's name on the Hugging Face hub",
        json_schema_extra={"paper": "openai/clip-vit-base-patch32"},
    )
    vision_frozen: int = Field(
        ge=0,
        le=1024,
        description="vision layers without frame fusion; their output is cached",
        json_schema_extra={"paper": "2 (MSRVTT), 0 (ActivityNet)"},
    )
    precision: Literal["bf16", "tf32", "fp32"] = Field(
        description="precision of training and of cached states (tf32: fp32 with TF32 products on GPUs); galleries and "
        "queries are always fp32",
        json_schema_extra={"paper": "fp32"},
    )
