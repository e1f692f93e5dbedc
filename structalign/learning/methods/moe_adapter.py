"""MoE-Adapter: LoRA experts beside each MLP of both towers, with one router per task.

After each task, its most used experts are frozen.

Yu et al., "Boosting Continual Learning of Vision-Language Models via Mixture-of-Experts Adapters", CVPR 2024,
arXiv 2403.11549.
"""

from structalign.learning.context import TaskContext
from structalign.learning.fine_tuning import clip_temperature
from structalign.learning.method import Method


def freeze_experts(task: TaskContext) -> None:
    """Freeze the experts that the task used most, in every layer."""
    for moe in task.model.moes():
        moe.freeze_most_used()


METHOD = Method(
    modules=("moe",),
    trains=("experts", "routers"),
    similarity="mean",
    scale=clip_temperature,
    after_task=freeze_experts,
)
