"""The chain of a project's learned tasks: their checkpoints, and which checkpoint encoded which videos."""

from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile
from pathlib import Path

from structalign.data.tasks import TASKS, Task, category_ids, read_tasks
from structalign.errors import UserError
from structalign.model.checkpoint import fingerprint, read_config
from structalign.params.reading import PARAMS, read
from structalign.paths import CHECKPOINTS, index_of
from structalign.search.index import newest_encoder
from structalign.store import read_json


@dataclass(frozen=True)
class Chain:
    """A project's learned tasks, up to the requested one, when it was read. names: category names by number."""

    project: Path
    tasks: list[str]
    names: dict[int, str]

    @property
    def checkpoint(self) -> Path:
        """The newest checkpoint."""
        return self.project / CHECKPOINTS / self.tasks[-1]

    @property
    def index(self) -> Path:
        """The index of the galleries up to the newest task."""
        return self.project / index_of(self.tasks[-1])

    @cached_property
    def newest(self) -> str:
        """The fingerprint of the newest checkpoint when it was first asked for, which is when the chain is read."""
        return fingerprint(self.checkpoint)

    def fingerprints(self) -> list[str]:
        """The fingerprint of each task's checkpoint now."""
        return [fingerprint(self.project / CHECKPOINTS / task) for task in self.tasks]


def read_chain(project: Path, after: str | None = None) -> Chain:
    """The chain of a project, up to the task `after`.

    Raises `UserError` if no task is learned, or if another model encoded the stored videos.
    """
    tasks = read_tasks(project / TASKS)
    last = last_learned(tasks, after, project)
    until = list(tasks)[: list(tasks).index(last) + 1]
    chain = Chain(project, until, {number: name for name, number in category_ids(tasks).items()})
    if newest_encoder(chain.index) != chain.newest:
        raise UserError(f"{chain.index} has videos that were not encoded by {chain.checkpoint}: run `dvc repro`.")
    return chain


def other_backbone(chain: Chain) -> str | None:
    """A note if params.yaml names another backbone than the chain's, or None."""
    try:
        named = read("backbone.name", str, chain.project / PARAMS)
        learned = read_config(chain.checkpoint).backbone
    except UserError:  # other code reports what is wrong with these files
        return None
    if named == learned:
        return None
    return f"{chain.checkpoint} was trained with {learned}, but {PARAMS} now names {named}: run `dvc repro` to use it."


def last_learned(tasks: dict[str, Task], after: str | None = None, project: Path = Path()) -> str:
    """The last learned task, or `after` if it is learned.

    Raises `UserError` if the checkpoints fit another tasks.yaml.
    """
    if after and after not in tasks:
        raise UserError(f"{TASKS} has no task {after}: choose one of {', '.join(tasks)}.")
    there = [key for key in tasks if config_of(key, project).exists() and (project / index_of(key)).exists()]
    learned = list(takewhile(lambda key: key in there and is_of(key, tasks, project), tasks))
    if learned and after in (None, *learned):
        return after or learned[-1]
    there = [key for key in there if after in (None, key)]
    if there:
        raise UserError(f"the checkpoints of {', '.join(there)} were trained with another {TASKS}: run `dvc repro`.")
    raise UserError(f"{after or 'no task'} is {'not ' if after else ''}learned yet: run `dvc repro`.")


def is_of(key: str, tasks: dict[str, Task], project: Path = Path()) -> bool:
    """Whether a checkpoint learned exactly the tasks up to `key`, so that its category numbers match their names."""
    config = read_json(config_of(key, project))
    until = dict(list(tasks.items())[: list(tasks).index(key) + 1])
    return bool(config.get("tasks") == list(until) and config.get("categories") == category_ids(until))


def config_of(key: str, project: Path = Path()) -> Path:
    """The config file of a task's checkpoint."""
    return project / CHECKPOINTS / key / "config.json"
