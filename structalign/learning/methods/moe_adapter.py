"""MoE-Adapter: LoRA experts and a router a task beside each MLP of both towers; the most used experts are frozen.

Yu et al., "Boosting Continual Learning of Vision-Language Models via Mixture-of-Experts Adapters", CVPR 2024,
arXiv 2403.11549.
"""

from structalign.learning.context import TaskContext
from structalign.learning.fine_tuning import clip_temperature
from structalign.learning.method import Method


def freeze_experts(task: TaskContext) -> None:
    """In every layer the experts that the task used most learn no more."""
    for moe in task.model.moes():
        moe.freeze_most_used()


METHOD = Method(
    modules=("moe",),
    trains=("experts", "routers"),
    similarity="mean",
    scale=clip_temperature,
    after_task=freeze_experts,
)
