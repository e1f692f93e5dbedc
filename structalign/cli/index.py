"""`structalign index DIR --backbone NAME`: make folders of videos searchable, without a project."""

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
    folders: Annotated[list[Path], typer.Argument(help="Folders of videos. Your files are not changed.")],
    backbone: Annotated[str, typer.Option(help="A CLIP: its folder, or its name on the Hugging Face hub.")],
    place: Annotated[
        Path | None, typer.Option("--index", help="The index's folder. Default: in your user data folder.")
    ] = None,
) -> None:
    """Index the videos of folders. Run it again to index only new and changed files.

    You can search the index while it fills.
    """
    from structalign.library.folder_index import FolderIndex, begin, refresh

    path = begin(folders, backbone, place)
    say(f"index: {path}")
    say(f'search it, even while it fills: structalign search --index {quoted(path)} "a sentence"')
    summary = refresh(FolderIndex(path), folders)
    report(summary, FolderIndex(path).snapshot.catalogue.skipped)


def quoted(path: Path) -> str:
    """The path, quoted for a shell."""
    from shlex import quote

    return quote(str(path))


def report(summary: "Summary", skipped: dict[str, int]) -> None:
    """Print what was done, and list the files that were not indexed."""
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
    passed = [f"{reason} {count:,}" for reason, count in sorted(skipped.items()) if count]
    out.print("; ".join(counts) + (f". Skipped: {', '.join(passed)}." if passed else "."))
    if summary.seconds:
        hours = summary.seconds / 3600
        out.print(
            f"{hours:.2f} hours of video in {plural(summary.segments, 'segment')}: decoding took "
            f"{summary.decoding:.1f} s, encoding {summary.encoding:.1f} s (summed over threads)."
        )
