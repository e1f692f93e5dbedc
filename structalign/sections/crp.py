"""`crp`: the cross-modal relation preserving loss, from task 2 on."""

from typing import Literal

from pydantic import Field

from structalign.params import Section


class Crp(Section):
    weight: float = Field(ge=0, description="weight of L_CRP; 0 is off", json_schema_extra={"paper": "10"})
    temperature: float = Field(gt=0, description="distillation temperature T", json_schema_extra={"paper": "2"})
    teacher: Literal["previous", "pretrained"] = Field(
        description="the model after the task before, or zero-shot CLIP",
        json_schema_extra={"paper": "previous (text), pretrained (released code)"},
    )
