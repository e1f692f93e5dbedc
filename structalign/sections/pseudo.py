"""`pseudo`: pseudo-features of learned categories, from task 2 on."""

from pydantic import Field

from structalign.params import Section


class Pseudo(Section):
    weight: float = Field(ge=0, description="weight of L_pseudo; 0 is off", json_schema_extra={"paper": "0.5"})
    mask_same_category: bool = Field(
        description="pseudo pairs of one category are no rivals of each other",
        json_schema_extra={"paper": "false"},
    )
