"""Fine-tuning all of CLIP: what clip4clip, lwf, vr_lwf, zscl and xpool share."""

from dataclasses import replace
from typing import Any

from torch import Tensor

from structalign.learning.context import TaskContext
from structalign.learning.method import CONTRASTIVE, Method, Term


def clip_temperature(task: TaskContext) -> Tensor:
    """CLIP's own temperature. It is trained if CLIP is."""
    return task.model.clip.temperature


def fine_tuned(*more: Term, **other: Any) -> Method:
    """A method that fine-tunes all of CLIP from pixels, with mean-pooled frames, L_con and `more` terms.

    other: fields of `Method` to replace.
    """
    method = Method(("tower",), ("tower",), "pixels", "mean", clip_temperature, (CONTRASTIVE, *more))
    return replace(method, **other)
