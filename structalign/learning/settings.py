"""The sections of params.yaml that act in a task, read once."""

from dataclasses import dataclass

from structalign.params import read
from structalign.sections.adapters import Adapters
from structalign.sections.backbone import Backbone
from structalign.sections.contrastive import Contrastive
from structalign.sections.crp import Crp
from structalign.sections.etf import Etf
from structalign.sections.optim import Phase, Shared
from structalign.sections.pseudo import Pseudo


@dataclass(frozen=True)
class Settings:
    """What acts in one task; `crp` and `pseudo` are None in the first."""

    seed: int
    backbone: Backbone
    adapters: Adapters
    contrastive: Contrastive
    etf: Etf
    crp: Crp | None
    pseudo: Pseudo | None
    shared: Shared
    phase: Phase


def read_settings(phase: Phase, crp: Crp | None = None, pseudo: Pseudo | None = None) -> Settings:
    """The settings of a task: what acts in all tasks is read here, what waits for the second is given."""
    return Settings(
        seed=read("seed", int),
        backbone=read("backbone", Backbone),
        adapters=read("adapters", Adapters),
        contrastive=read("contrastive", Contrastive),
        etf=read("etf", Etf),
        crp=crp,
        pseudo=pseudo,
        shared=read("optim.shared", Shared),
        phase=phase,
    )
