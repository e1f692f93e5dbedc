"""`etf`: the simplex-ETF prior and its alignment loss."""

from typing import Annotated, Literal

from pydantic import Field

from structalign.params import Section


class Etf(Section):
    dim: int = Field(ge=1, description="dimension d of ETF space", json_schema_extra={"paper": "512"})
    capacity: Annotated[int, Field(ge=2)] | Literal["auto"] = Field(
        description="categories C the simplex has room for; auto is d + 1, the largest",
        json_schema_extra={"paper": "number of categories"},
    )
    weight: float = Field(
        ge=0,
        description="weight w of L_ETF relative to the base loss; 0 is off",
        json_schema_extra={"paper": "0.1"},
    )
    frame: Literal["exact", "gaussian"] = Field(
        description="the simplex itself, or normalised columns of a centred Gaussian matrix",
        json_schema_extra={"paper": "exact (text), gaussian (released code)"},
    )
    head: Literal["shared", "separate", "frozen_random", "identity"] = Field(
        description="map into ETF space: one trained, one a modality trained, one a modality random, or none",
        json_schema_extra={"paper": "frozen_random (released code)"},
    )
    seed: int = Field(ge=0, description="seed of the vertices and of the head")

    @property
    def room(self) -> int:
        """C, how many categories the simplex has a vertex for."""
        return self.dim + 1 if self.capacity == "auto" else self.capacity
