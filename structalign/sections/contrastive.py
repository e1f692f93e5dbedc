"""`contrastive`: L_con over word-frame similarity."""

from pydantic import Field

from structalign.params import Section


class Contrastive(Section):
    scale: float = Field(
        gt=0,
        description="factor on word-frame similarity in L_con and L_CRP, independent of the batch size",
        json_schema_extra={"paper": "17.59 (e^4.60 / sqrt(32))"},
    )
    prior: float = Field(
        ge=0,
        description="strength of the correction of L_con by the categories' shares of the pairs; 0 is off",
        json_schema_extra={"paper": "0"},
    )
    sentence_weight: float = Field(
        ge=0,
        description="weight of a second L_con and L_CRP on sentence-video similarity; 0 is off",
        json_schema_extra={"paper": "0"},
    )
    mask_duplicates: bool = Field(
        description="two captions of one video in a batch are no negatives of each other",
        json_schema_extra={"paper": "false (released code)"},
    )
