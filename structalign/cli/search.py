"""`structalign search "a sentence"`: the stored videos that fit it best."""

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
from structalign.errors import UserError
from structalign.paths import BACKBONE
from structalign.report.terminal import terminal
from structalign.text import visible

if TYPE_CHECKING:
    from structalign.library.hits import Hit
    from structalign.library.video_index import VideoIndex

app = typer.Typer(add_completion=False)


@app.command()
def search(
    sentences: Annotated[list[str] | None, typer.Argument(help="What the videos show, a sentence each.")] = None,
    top: Annotated[int, typer.Option(min=1, help="How many videos to list.")] = 5,
    like: Annotated[Path | None, typer.Option(help="Find what looks like this video, instead of sentences.")] = None,
    category: Annotated[str | None, typer.Option(help="Only videos of this category.")] = None,
    task: Annotated[str | None, typer.Option(help="Only videos of this task.")] = None,
    folder: Annotated[Path | None, typer.Option(help="Only videos below this folder.")] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Show which word met which frame.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON, with every number.")] = False,
    index: Annotated[Path | None, typer.Option(help="An index that `structalign index` made.")] = None,
    project: Annotated[Path, typer.Option(help="A project's folder; this one if not given.")] = Path(),
    checkpoint: Annotated[Path | None, typer.Option(help="Search as after the task of this checkpoint.")] = None,
    after: Annotated[str | None, typer.Option(help="Search as after this task; the last one if not given.")] = None,
    split: Annotated[
        Literal["train", "val", "test"] | None, typer.Option(help="Clips of this split alone; test: as evaluated.")
    ] = None,
) -> None:
    """Find videos by sentences, or by a video, in a project or in an index of folders."""
    asked = [sentence.strip() for sentence in sentences or []]
    if (like is None) == (not asked):
        raise UserError("give a sentence, or a video with --like: one of the two.")
    if like is None and not all(asked):
        raise UserError("the sentence is empty: say in words what the video shows.")
    opened = _open(index, project, checkpoint, after, split)
    if like is not None:
        found = {str(like): opened.like(like, top, category, task)}
    else:
        found = {sentence: opened.search(sentence, top, category, task, folder) for sentence in asked}
    if json_:
        say(json.dumps([_values(query, hits, opened, explain) for query, hits in found.items()], indent=1))
        return
    _print(found, opened, explain)
    for sentence in asked if index is None else ():
        if unknown := unknown_words(opened.path / BACKBONE, sentence):
            say(
                f"note: the sample's tiny CLIP does not know {', '.join(unknown)}: it ranks by the other words.",
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
            raise UserError("--index needs neither --project nor --checkpoint: an index knows what it was made by.")
        return open_index(index, after, split)
    if checkpoint is not None:
        if after is not None:
            raise UserError("--checkpoint and --after say the same: give one of them.")
        real = checkpoint.resolve()
        project, after = (project if project != Path() else real.parent.parent), real.name
        if not (project / "checkpoints" / after).exists() or (project / "checkpoints" / after).resolve() != real:
            raise UserError(
                f"{checkpoint} is no checkpoint of a project's tasks: name checkpoints/t01 or a later one of a project."
            )
    if index is None and project == Path():
        read_chain(project, after)  # says what is missing before anything is loaded
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
                "weak: the sentence is unlike all that this collection was trained on; what it says may be in no video."
            )
    if not len(opened):
        out.print("the index has no videos yet.")
    if opened.note:
        say(opened.note, err=True)


def table(hits: Sequence["Hit"]) -> Table:
    """The hits in their order."""
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
