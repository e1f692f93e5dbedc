"""The losses. Each is a section of params.yaml, which acts from one task on.

`check` writes the sections that act in a task to its file in work/losses, and training depends on that file. So a loss
that acts from task 2 on never re-runs task 1. To add a section, write its class, whose keys have defaults
(`section.Section`), and a field of `Losses`.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, cast

from pydantic import Field

from structalign.params.section import Section

CLIP_SCALE = 99.48431564193378  # e^4.60, CLIP's temperature, independent of the batch size


class LossSection(Section):
    """Settings of a loss, which act from task `since` on."""

    since: ClassVar[int] = 1


class WeightedLoss(LossSection):
    """Settings of a loss that a weight of 0 turns off."""

    weight: float = Field(ge=0, le=100_000)


class Contrastive(LossSection):
    """`contrastive`: L_con over word-frame similarity."""

    scale: float = Field(
        gt=0,
        le=100_000,
        description="factor on word-frame similarity in L_con and L_CRP, independent of the batch size",
        json_schema_extra={"paper": "17.59 (e^4.60 / sqrt(32))"},
    )
    logit_adjustment: float = Field(
        ge=0,
        le=100_000,
        description="strength of logit adjustment in L_con, by the categories' shares of the pairs; 0 is off",
        json_schema_extra={"paper": "0"},
    )
    sentence_weight: float = Field(
        ge=0,
        le=100_000,
        description="weight of a second L_con and L_CRP on sentence-video similarity; 0 is off",
        json_schema_extra={"paper": "0"},
    )
    mask_duplicates: bool = Field(
        description="two captions of one video in a batch are not negatives of each other",
        json_schema_extra={"paper": "false (released code)"},
    )


class Etf(WeightedLoss):
    """`etf`: the simplex ETF and its alignment loss."""

    weight: float = Field(
        ge=0,
        le=100_000,
        description="weight w of L_ETF relative to the base loss; 0 is off",
        json_schema_extra={"paper": "0.1"},
    )
    relative_to: Literal["value", "gradient"] = Field(
        default="value",
        description="what w is relative to: the base loss's value, or its gradient's norm on the embeddings",
        json_schema_extra={"paper": "value"},
    )
    dim: int = Field(ge=1, le=8192, description="dimension d of ETF space", json_schema_extra={"paper": "512"})
    capacity: Annotated[int, Field(ge=2, le=100_000)] | Literal["auto"] = Field(
        description="number of categories C of the simplex; auto is d + 1, the maximum",
        json_schema_extra={"paper": "number of categories"},
    )
    vertices: Literal["exact", "prototypes", "gaussian"] = Field(
        description="a random simplex, one that grows along zero-shot prototypes, or a centred Gaussian matrix",
        json_schema_extra={"paper": "exact (text), gaussian (released code)"},
    )
    head: Literal["fixed", "shared", "separate", "frozen_random"] = Field(
        description="map into ETF space: one fixed, one trained, one trained per modality, or one random per modality",
        json_schema_extra={"paper": "frozen_random (released code)"},
    )
    seed: int = Field(ge=0, description="seed of the vertices and of the head")

    @property
    def room(self) -> int:
        """C, the number of categories of the simplex."""
        return self.dim + 1 if self.capacity == "auto" else self.capacity


class Crp(WeightedLoss):
    """`crp`: the cross-modal relation preserving loss."""

    since = 2

    weight: float = Field(ge=0, le=100_000, description="weight of L_CRP; 0 is off", json_schema_extra={"paper": "10"})
    temperature: float = Field(
        gt=0, le=100_000, description="distillation temperature T", json_schema_extra={"paper": "2"}
    )
    teacher: Literal["previous", "pretrained", "both"] = Field(
        description="the model after the previous task, zero-shot CLIP, or both, with the mean of their losses",
        json_schema_extra={"paper": "previous (text), pretrained (released code)"},
    )


class Pseudo(WeightedLoss):
    """`pseudo`: pseudo-features of learned categories."""

    since = 2

    weight: float = Field(
        ge=0, le=100_000, description="weight of L_pseudo; 0 is off, also in L_ETF", json_schema_extra={"paper": "0.5"}
    )
    scale: float = Field(
        default=CLIP_SCALE,
        gt=0,
        le=100_000,
        description="factor on cosines in L_pseudo",
        json_schema_extra={"paper": "99.48 (e^4.60)"},
    )
    negatives: Literal["all", "mixed"] = Field(
        default="all",
        description="all pairs, or mixed: only a real and a pseudo feature are negatives of each other",
        json_schema_extra={"paper": "all"},
    )
    covariance: Literal["radius", "shrunk"] = Field(
        description="each category's own radius, or one shrunk towards the pooled radius if samples are few",
        json_schema_extra={"paper": "radius"},
    )
    mask_same_category: bool = Field(
        description="pseudo pairs of one category are not negatives of each other",
        json_schema_extra={"paper": "false"},
    )


class RandomNegatives(WeightedLoss):
    """`random_negatives`: random captions as negatives, in `task_lora`."""

    weight: float = Field(
        default=1,
        ge=0,
        le=100_000,
        description="weight of L_neg in `task_lora`, with random captions as negatives; 0 is off",
        json_schema_extra={"paper": "not in the paper"},
    )


class Losses(Section):
    """Every loss section by its name in params.yaml."""

    contrastive: Contrastive
    etf: Etf
    crp: Crp
    pseudo: Pseudo
    random_negatives: RandomNegatives = RandomNegatives()


def sections() -> dict[str, type[LossSection]]:
    """The class of every loss section by its name."""
    return {name: cast(type[LossSection], field.annotation) for name, field in Losses.model_fields.items()}


def acting(losses: Losses, number: int) -> dict[str, Any]:
    """The values of each section that acts in task `number` (from 1), by name."""
    return {name: getattr(losses, name).model_dump() for name, kind in sections().items() if kind.since <= number}


def acting_sections(values: Mapping[str, Any]) -> tuple[LossSection, ...]:
    """The typed sections of the values that `acting` gives."""
    return tuple(sections()[name].model_validate(value) for name, value in values.items())
