"""The settings of a task, from presets in one call."""

import math
from dataclasses import dataclass

from torch import Tensor

from structalign.errors import UserError
from structalign.learning.init_task import shape_of
from structalign.learning.loading import load_method
from structalign.learning.settings import Settings, settings_of
from structalign.learning.vertices import initial_vertices
from structalign.model.video_text import ModelConfig
from structalign.params.reading import PARAMS
from structalign.params.schema import overlay, validate
from structalign.presets import read_layers
from structalign.strict_yaml import load_yaml


@dataclass(frozen=True)
class TaskSettings:
    """Task `number` (from 1): the method's name, its settings, the model config and the vertices [C, d]."""

    method: str
    number: int
    settings: Settings
    model_config: ModelConfig
    vertices: Tensor


def settings_from(*presets: str, task: int) -> TaskSettings:
    """The settings of a task (from 1), by params.yaml of the current folder and by `presets` applied over it.

    Later presets override earlier ones, as in `structalign preset`. No file is written. Raises `UserError` for a task
    that the presets do not have.
    """
    tree, tasks = load_yaml(PARAMS), math.inf
    for layer in (layer for name in presets for layer in read_layers(name)):
        tasks = layer.pop("tasks", tasks)
        overlay(tree, layer)
    params = validate(tree)
    if not 1 <= task <= tasks:
        last = "on" if tasks == math.inf else f"to {tasks}"
        raise UserError(f"there is no task {task} in {' '.join(presets) or PARAMS}: choose one from 1 {last}.")
    settings, name = settings_of(params.model_dump(), task), params.method.name
    return TaskSettings(
        method=name,
        number=task,
        settings=settings,
        model_config=shape_of(load_method(name), settings, params.frames.per_video),
        vertices=initial_vertices(params.etf),
    )
