"""`features`: the cached views of training videos."""

from pydantic import Field

from structalign.params.section import Section


class FeaturesParams(Section):
    train_views: int = Field(
        ge=0,
        le=64,
        description="random crops cached per training video; 0: a new crop at every visit",
        json_schema_extra={"paper": "0"},
    )
    flip: bool = Field(
        description="mirror half of the training views; turn off if captions name directions",
        json_schema_extra={"paper": "true"},
    )
    seed: int = Field(ge=0, description="seed of the views, shared by all training seeds")
