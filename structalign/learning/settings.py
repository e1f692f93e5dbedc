"""The sections of params.yaml that act in a task, read once."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from structalign.params.adapters import Adapters
from structalign.params.backbone import Backbone
from structalign.params.losses import Losses, LossSection, WeightedLoss, acting, acting_sections
from structalign.params.optim import Phase, Shared
from structalign.params.reading import read
from structalign.paths import LOSSES
from structalign.store import read_json, reading

L = TypeVar("L", bound=LossSection)


@dataclass(frozen=True)
class Settings:
    """The settings of one task. losses: the loss sections that act in it. `settings[Crp]` is the one of class `Crp`."""

    seed: int
    backbone: Backbone
    adapters: Adapters
    losses: tuple[LossSection, ...]
    shared: Shared
    phase: Phase

    def __getitem__(self, kind: type[L]) -> L:
        """The section of a class. Raises `KeyError` if it does not act in the task."""
        for section in self.losses:
            if isinstance(section, kind):
                return section
        raise KeyError(kind.__name__)

    def acts(self, kind: type[WeightedLoss]) -> bool:
        """Whether a loss acts in the task, with a weight above 0."""
        return any(isinstance(section, kind) and section.weight > 0 for section in self.losses)


def settings_of(sections: Mapping[str, Any], number: int) -> Settings:
    """The settings of task `number` (from 1). sections: those of params.yaml, by name."""
    losses = Losses.model_validate({name: sections[name] for name in Losses.model_fields})
    optim = sections["optim"]
    return Settings(
        seed=sections["seed"],
        backbone=Backbone.model_validate(sections["backbone"]),
        adapters=Adapters.model_validate(sections["adapters"]),
        losses=acting_sections(acting(losses, number)),
        shared=Shared.model_validate(optim["shared"]),
        phase=Phase.model_validate(optim["first" if number == 1 else "later"]),
    )


def read_settings(task: str, phase: Phase) -> Settings:
    """The settings of a task (`t02`) whose phase is given."""
    return Settings(
        seed=read("seed", int),
        backbone=read("backbone", Backbone),
        adapters=read("adapters", Adapters),
        losses=_acting(LOSSES / f"{task}.json"),
        shared=read("optim.shared", Shared),
        phase=phase,
    )


def _acting(path: Path) -> tuple[LossSection, ...]:
    with reading(path):
        return acting_sections(read_json(path))
