"""`structalign search "a sentence"`: find the videos that match a sentence best."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.table import Table

from structalign.collector import paused
from structalign.console import say
from structalign.data.pretrained import unknown_words
from structalign.data.tasks import TASKS
from structalign.errors import UserError
from structalign.library.limits import MOST
from structalign.paths import BACKBONE
from structalign.report.terminal import terminal
from structalign.text import visible

if TYPE_CHECKING:
    from structalign.library.hits import Hit
    from structalign.library.video_index import VideoIndex

app = typer.Typer(add_completion=False)


@app.command()
def search(
    sentences: Annotated[list[str] | None, typer.Argument(help="Sentences that say what the videos show.")] = None,
    top: Annotated[int, typer.Option(min=1, help="How many videos to list.")] = 5,
    like: Annotated[Path | None, typer.Option(help="Find videos similar to this video, instead of a sentence.")] = None,
    category: Annotated[str | None, typer.Option(help="Only videos of this category.")] = None,
    task: Annotated[str | None, typer.Option(help="Only videos of this task.")] = None,
    folder: Annotated[Path | None, typer.Option(help="Only videos in this folder.")] = None,
    mode: Annotated[
        Literal["exact", "candidates"] | None,
        typer.Option(help=f"Rank all videos, or at most {MOST:,} candidates. Default: all while that is quick."),
    ] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Show the best frame for each word.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON with all scores.")] = False,
    index: Annotated[Path | None, typer.Option(help="An index that `structalign index` made.")] = None,
    project: Annotated[Path, typer.Option(help="The project's folder. Default: the current folder.")] = Path(),
    checkpoint: Annotated[Path | None, typer.Option(help="Use the model and gallery of this checkpoint.")] = None,
    after: Annotated[
        str | None, typer.Option(help="Use the model and gallery of this task. Default: the last.")
    ] = None,
    split: Annotated[
        Literal["train", "val", "test"] | None,
        typer.Option(help="Only clips of this split. The evaluation uses `test`."),
    ] = None,
) -> None:
    """Find videos by a sentence or by a similar video, in a project or in an index."""
    asked = [sentence.strip() for sentence in sentences or []]
    if (like is None) == (not asked):
        raise UserError("pass either a sentence, or a video with --like.")
    if like is None and not all(asked):
        raise UserError("the sentence is empty: describe what the video shows.")
    opened = _open(index, project, checkpoint, after, split)
    if like is not None:
        found = {str(like): opened.like(like, top, category, task)}
    else:
        found = {sentence: opened.search(sentence, top, category, task, folder, mode=mode) for sentence in asked}
    if json_:
        say(json.dumps([_values(query, hits, opened, explain) for query, hits in found.items()], indent=1))
        return
    _print(found, opened, explain)
    for sentence in asked if index is None else ():
        if unknown := unknown_words(opened.path / BACKBONE, sentence):
            say(
                f"note: the sample's tiny CLIP does not know {', '.join(unknown)}. It ranks by the other words.",
                err=True,
            )


def _open(
    index: Path | None, project: Path, checkpoint: Path | None, after: str | None, split: str | None
) -> "VideoIndex":
    with paused():
        from structalign.library.chain import read_chain
        from structalign.library.opening import open_index

    if index is not None:
        if checkpoint is not None or project != Path():
            raise UserError(
                "--index excludes --project and --checkpoint: leave them out, since an index names its model."
            )
        return open_index(index, after, split)
    if checkpoint is not None:
        if after is not None:
            raise UserError("--checkpoint and --after both choose a task: pass only one of them.")
        real = checkpoint.resolve()
        project, after = (project if project != Path() else real.parent.parent), real.name
        if not (project / "checkpoints" / after).exists() or (project / "checkpoints" / after).resolve() != real:
            raise UserError(f"{checkpoint} is not a checkpoint of a project: name one such as checkpoints/t01.")
    if index is None and project == Path():
        if not (project / TASKS).exists():
            raise UserError(
                "there is no project here: pass --index or --project, run this in a project's folder, or make one with "
                "`structalign new DIR`."
            )
        read_chain(project, after)  # reports what is missing before anything is loaded
    return open_index(project, after, split)


def _values(query: str, hits: Sequence["Hit"], opened: "VideoIndex", explain: bool) -> dict[str, Any]:
    """A query and its hits, as JSON."""
    values = [asdict(hit) | ({"words": opened.explain(query, hit.moments[0].id)} if explain else {}) for hit in hits]
    return {"query": query, "videos": len(opened), "generation": opened.generation, "hits": values}


def _print(found: dict[str, list["Hit"]], opened: "VideoIndex", explain: bool) -> None:
    out = terminal()
    for number, (query, hits) in enumerate(found.items()):
        if len(found) > 1:
            out.print(f"{chr(10) if number else ''}{query}")
        out.print(table(hits))
        if explain:
            for hit in hits:
                words = opened.explain(query, hit.moments[0].id)
                out.print(f"{hit.file}: " + ", ".join(f"{word} at {at:.1f} s ({cos:.2f})" for word, at, cos in words))
        if hits and all(hit.weak for hit in hits):
            out.print(
                "weak: no training caption and no stored video is like this sentence, so perhaps no video shows it."
            )
    if not len(opened):
        out.print("the index has no videos yet.")
    if opened.note:
        say(opened.note, err=True)


def table(hits: Sequence["Hit"]) -> Table:
    """The hits as a table, best first."""
    rows = Table(box=None, pad_edge=False)
    has_category = any(hit.category is not None for hit in hits)
    for column in ("rank", "score", "match", "file", *(["category"] * has_category), "time"):
        rows.add_column(column, justify="left" if column in ("file", "category") else "right", overflow="fold")
    for rank, hit in enumerate(hits, start=1):
        match = f"{hit.similarity:.2f}{' weak' if hit.weak else ''}"
        span = f"{hit.start:.1f}–{hit.end:.1f} s"
        rows.add_row(
            str(rank),
            f"{hit.above:.2f}",
            match,
            visible(hit.file),
            *([visible(hit.category or "")] * has_category),
            span,
        )
    return rows
