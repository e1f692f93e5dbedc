"""`structalign search "a sentence"`: the stored videos that fit it best."""

from collections.abc import Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from structalign.collector import paused
from structalign.console import say
from structalign.data.pretrained import unknown_words
from structalign.data.tasks import TASKS, Task, category_ids, read_tasks
from structalign.errors import UserError
from structalign.params.ranking import Ranking
from structalign.params.reading import read
from structalign.paths import BACKBONE, CHECKPOINTS, index_of
from structalign.report.terminal import terminal
from structalign.store import read_json
from structalign.text import visible

if TYPE_CHECKING:
    from structalign.search.searcher import Hit

app = typer.Typer(add_completion=False)


@app.command()
def search(
    sentence: Annotated[str, typer.Argument(help="What the video shows, in words.")],
    top: Annotated[int, typer.Option(min=1, help="How many videos to list.")] = 5,
    after: Annotated[str | None, typer.Option(help="Search as after this task; the last one if not given.")] = None,
) -> None:
    """Rank the stored videos of all learned tasks by a sentence."""
    if not sentence.strip():
        raise UserError("the sentence is empty: say in words what the video shows.")
    tasks = read_tasks()
    key = last_learned(tasks, after)

    with paused():
        from structalign.model.checkpoint import fingerprint
        from structalign.search.index import Index, newest_encoder
        from structalign.search.retriever import load
        from structalign.search.searcher import Searcher

    checkpoint, index = config_of(key).parent, index_of(key)
    if newest_encoder(index) != fingerprint(checkpoint):
        raise UserError(f"{index} holds videos that another model than {checkpoint} encoded: run `dvc repro`.")
    found = Searcher(load(checkpoint), Index(index), read("ranking", Ranking)).search(sentence)
    names = {number: name for name, number in category_ids(tasks).items()}
    if unknown := unknown_words(BACKBONE, sentence):
        say(f"note: the sample's tiny CLIP does not know {', '.join(unknown)}: it ranks by the other words.", err=True)
    terminal().print(table(found[:top], names))


def last_learned(tasks: dict[str, Task], after: str | None = None) -> str:
    """The last task that is learned, or `after` if that is; `UserError` if what lies here is of another tasks.yaml."""
    if after and after not in tasks:
        raise UserError(f"{TASKS} has no task {after}: choose one of {', '.join(tasks)}.")
    there = [key for key in tasks if config_of(key).exists() and index_of(key).exists()]
    learned = list(takewhile(lambda key: key in there and is_of(key, tasks), tasks))
    if learned and after in (None, *learned):
        return after or learned[-1]
    there = [key for key in there if after in (None, key)]
    if there:
        raise UserError(f"what is here of {', '.join(there)} was learned with another {TASKS}: run `dvc repro`.")
    raise UserError(f"{after or 'no task'} is {'not ' if after else ''}learned yet: run `dvc repro`.")


def is_of(key: str, tasks: dict[str, Task]) -> bool:
    """Whether a task's checkpoint learned exactly what `tasks` say up to it, so that its numbers are their names."""
    config = read_json(config_of(key))
    until = dict(list(tasks.items())[: list(tasks).index(key) + 1])
    return bool(config.get("tasks") == list(until) and config.get("categories") == category_ids(until))


def config_of(key: str) -> Path:
    """Where a task's checkpoint says what it learned."""
    return CHECKPOINTS / key / "config.json"


def table(hits: Sequence["Hit"], names: Mapping[int, str]) -> Table:
    """The hits in their order; `names` are the categories by number."""
    rows = Table(box=None, pad_edge=False)
    for column in ("rank", "score", "file", "category", "time"):
        rows.add_column(column, justify="left" if column in ("file", "category") else "right", overflow="fold")
    for rank, hit in enumerate(hits, start=1):
        span = f"{hit.start:.1f}–{hit.end:.1f} s"
        rows.add_row(str(rank), f"{hit.score:.2f}", visible(hit.file), visible(names[hit.category]), span)
    return rows
