"""The sections of params.yaml that act in a task, read once."""

from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from structalign.params.adapters import Adapters
from structalign.params.backbone import Backbone
from structalign.params.losses import LossSection, WeightedLoss, acting_sections
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
