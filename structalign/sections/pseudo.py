"""`pseudo`: pseudo-features of learned categories, from task 2 on."""

from typing import Literal

from pydantic import Field

from structalign.params import Section


class Pseudo(Section):
    weight: float = Field(
        ge=0, description="weight of L_pseudo; 0 is off, also in L_ETF", json_schema_extra={"paper": "0.5"}
    )
    covariance: Literal["radius", "shrunk"] = Field(
        description="each category's own radius, or one shrunk to the pooled radius where samples are few",
        json_schema_extra={"paper": "radius"},
    )
    mask_same_category: bool = Field(
        description="pseudo pairs of one category are no rivals of each other",
        json_schema_extra={"paper": "false"},
    )
