"""`structalign search "a sentence"`: the stored videos that fit it best."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from structalign.data.tasks import category_ids, read_tasks
from structalign.errors import UserError
from structalign.params import read
from structalign.report.terminal import terminal
from structalign.sections.ranking import Ranking

if TYPE_CHECKING:
    from structalign.retrieval.search import Hit

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
    key = after or next((t for t in reversed(tasks) if Path("work/index", f"{t}.json").exists()), None)
    if key is None or key not in tasks or not Path("checkpoints", key, "config.json").exists():
        raise UserError(f"no checkpoint of {after or 'any task'} is here: run `dvc repro` (tasks: {', '.join(tasks)}).")

    from structalign.retrieval.retriever import load
    from structalign.retrieval.search import rank_gallery

    found = rank_gallery(
        load(Path("checkpoints", key)),
        Path("work/index", f"{key}.json"),
        sentence,
        read("ranking", Ranking).beta,
    )
    names = {number: name for name, number in category_ids(tasks).items()}
    terminal().print(table(found[:top], names))


def table(hits: Sequence["Hit"], names: Mapping[int, str]) -> Table:
    """The hits in their order; `names` are the categories by number."""
    rows = Table(box=None, pad_edge=False)
    for column in ("rank", "score", "file", "category", "time"):
        rows.add_column(column, justify="left" if column in ("file", "category") else "right", overflow="fold")
    for rank, hit in enumerate(hits, start=1):
        span = f"{hit.start:.1f}–{hit.end:.1f} s"
        rows.add_row(str(rank), f"{hit.score:.2f}", hit.file, names[hit.category], span)
    return rows
