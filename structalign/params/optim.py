"""`optim`: the optimizer and its schedule, shared and per phase."""

from typing import Literal

from pydantic import Field

from structalign.params.section import Section


class Shared(Section):
    batch: int = Field(ge=2, le=65536, description="pairs in a batch", json_schema_extra={"paper": "32"})
    epoch: Literal["videos", "captions"] = Field(
        description="whether an epoch visits every video once, or every caption once",
        json_schema_extra={"paper": "captions"},
    )
    sampling: Literal["uniform", "balanced"] = Field(
        description="random pairs, or every category of the task equally often",
        json_schema_extra={"paper": "uniform"},
    )
    weight_decay: float = Field(
        ge=0, le=100_000, description="AdamW decay of the LoRA and router matrices", json_schema_extra={"paper": "0.5"}
    )
    clip: float = Field(gt=0, le=100_000, description="largest global gradient norm", json_schema_extra={"paper": "1"})


class Phase(Section):
    """Task 1 (`optim.first`) or every later task (`optim.later`)."""

    epochs: int = Field(
        ge=1, le=100_000, description="epochs per task; the last epoch is used", json_schema_extra={"paper": "20"}
    )
    lr: float = Field(
        ge=0,
        le=100,
        description="learning rate of fusion, LoRA, routers and the adapters of other methods",
        json_schema_extra={"paper": "2e-5 first, 3e-6 later (MSRVTT)"},
    )
    alpha_lr: float = Field(
        ge=0,
        le=100,
        description="learning rate of the fusion gates and task prototypes",
        json_schema_extra={"paper": "2e-5 first, 1e-5 later"},
    )
    head_lr: float = Field(
        ge=0, le=100, description="learning rate of the ETF head", json_schema_extra={"paper": "not trained"}
    )
    tower_lr: float = Field(
        ge=0,
        le=100,
        description="learning rate of CLIP's own weights, in methods that fine-tune them",
        json_schema_extra={"paper": "1e-7 (CLIP4Clip)"},
    )
    warmup: float = Field(
        ge=0,
        lt=1,
        description="share of the steps for warm-up",
        json_schema_extra={"paper": "0.1 first, 0 later"},
    )
