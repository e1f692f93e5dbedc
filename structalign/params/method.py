"""`method`: the method to train, and the registry of methods, each a file of `learning.methods`."""

from typing import Annotated

from pydantic import AfterValidator, Field

from structalign.params.section import Section

METHODS = {
    "structalign": "the paper's method: fusion, LoRA mixture, L_con, L_CRP, L_ETF and L_pseudo",
    "finetune": "structalign's model trained only with L_con",
    "zero_shot": "zero-shot CLIP, without training",
    "head_only": "structalign's losses on one linear map per modality over frozen towers",
    "clip4clip": "all of CLIP fine-tuned, mean-pooled frames",
    "lwf": "clip4clip with distillation from the previous model",
    "vr_lwf": "clip4clip with distillation on captions of random tokens",
    "zscl": "clip4clip with distillation from zero-shot CLIP and averaged weights",
    "xpool": "clip4clip whose captions pool the frames by attention",
    "moe_adapter": "LoRA experts and routers in the MLPs of both towers",
    "stablefusion": "structalign's model with a loss against stored past videos",
    "replay": "finetune with a few remembered pairs of past tasks",
    "structalign_released": "structalign as the authors' released code computes it",
    "task_lora": "a LoRA a task, and random captions for what it does not know; ours, not the paper's",
}


def registered(name: str) -> str:
    """Return `name` if it is a registered method."""
    if name not in METHODS:
        raise ValueError(f"the methods are {', '.join(METHODS)}")
    return name


class MethodName(Section):
    name: Annotated[str, AfterValidator(registered)] = Field(
        description="a method of docs/methods.md", json_schema_extra={"paper": "structalign", "enum": [*METHODS]}
    )
