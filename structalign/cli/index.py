"""`structalign index DIR --backbone NAME`: make raw folders of videos searchable, and keep them so."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from structalign.console import say
from structalign.text import plural

if TYPE_CHECKING:
    from structalign.library.indexing import Summary

app = typer.Typer(add_completion=False)


@app.command()
def index(
    folders: Annotated[list[Path], typer.Argument(help="Folders of videos; their files stay as they are.")],
    backbone: Annotated[str, typer.Option(help="A CLIP: its folder, or its name on the hub.")],
    place: Annotated[
        Path | None, typer.Option("--index", help="Where the index lies; your data folder if not given.")
    ] = None,
) -> None:
    """Index the videos of folders; again: only what is new or changed. It can be searched while it fills."""
    from structalign.library.folder_index import FolderIndex, begin, refresh

    path = begin(folders, backbone, place)
    say(f"index: {path}")
    say(f'search it, also while it fills: structalign search --index {quoted(path)} "a sentence"')
    summary = refresh(FolderIndex(path), folders)
    report(summary, FolderIndex(path).snapshot.catalogue.skipped)


def quoted(path: Path) -> str:
    """The path as a shell takes it."""
    from shlex import quote

    return quote(str(path))


def report(summary: "Summary", skipped: dict[str, int]) -> None:
    """Say what was done, and name what was not."""
    from structalign.report.terminal import terminal

    out = terminal()
    for path, reason in sorted(summary.broken.items()):
        out.print(f"broken: {path}: {reason}")
    for path, other in summary.duplicates:
        out.print(f"duplicate: {path} has the content of {other}")
    counts = [f"{plural(len(summary.encoded), 'file')} encoded"]
    counts += [f"{len(summary.moved):,} moved"] * bool(summary.moved)
    counts += [f"{summary.unchanged:,} unchanged"] * bool(summary.unchanged)
    counts += [f"{len(summary.gone):,} gone"] * bool(summary.gone)
    counts += [f"{len(summary.broken):,} broken"] * bool(summary.broken)
    passed = [f"{count:,} {reason}" for reason, count in sorted(skipped.items()) if count]
    out.print("; ".join(counts) + (f". Skipped: {', '.join(passed)}." if passed else "."))
    if summary.seconds:
        hours = summary.seconds / 3600
        out.print(
            f"{hours:.2f} hours of video in {plural(summary.segments, 'segment')}: decoding took "
            f"{summary.decoding:.1f} s, encoding {summary.encoding:.1f} s (of all threads)."
        )
