"""`structalign index DIR --backbone NAME`: make folders of videos searchable, without a project."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from typer.core import TyperCommand, TyperGroup

from structalign.console import say
from structalign.errors import UserError
from structalign.library.limits import FIRST, MOST
from structalign.report.terminal import terminal
from structalign.text import plural

if TYPE_CHECKING:
    from structalign.library.indexing import Summary
    from structalign.library.video_index import VideoIndex


class Index(TyperGroup):
    """`structalign index DIR`, and commands about an index. A folder called like a command is written `./check`."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        return super().get_command(ctx, cmd_name) or super().get_command(ctx, "folders")  # any other word is a folder

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, args if args and args[0] in self.commands else ["folders", *args])


class Folders(TyperCommand):
    """The command without a name of its own: its usage is `structalign index DIR`."""

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        return super().make_context(parent.info_name, args, parent=parent.parent, **extra)


app = typer.Typer(cls=Index, add_completion=False)
BUILT, SECONDS = 20, 10.0  # sentences of the self-test when an index is built, and its time; one is always compared
PLACE = Annotated[Path | None, typer.Option("--index", help="An index that `structalign index` made.")]
PROJECT = Annotated[Path, typer.Option(help="The project's folder. Default: the current folder.")]


@app.callback()
def root() -> None:
    """Make folders of videos searchable, without a project."""


@app.command(cls=Folders, epilog="See also: structalign index check --help, structalign index push --help.")
def folders(
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
    index = FolderIndex(path)
    summary = refresh(index, folders)
    index = index.reopened()
    report(summary, index.snapshot.catalogue.skipped)
    if summary.encoded:
        self_test(index, index.sentences(BUILT))


def self_test(index: "VideoIndex", sentences: Sequence[tuple[str, str | None]]) -> None:
    """Say how well candidates agree with exact ranking, for as many of these sentences as take some seconds."""
    from structalign.library.agreement import agreement
    from structalign.library.engines.choice import uses_qdrant

    if uses_qdrant():
        where = f"--index {quoted(index.path)}" if index.path == index.written else f"--project {quoted(index.path)}"
        say(f"send its vectors to Qdrant: structalign index push {where}")
        return
    if not sentences:  # a project without captions
        return
    found = agreement(index, sentences, seconds=SECONDS)[-1]
    say(f"candidates agree with exact ranking in {found.top:.3f} of the top 10, in {found.first:.3f} of the first "
        f"({plural(found.sentences, 'sentence')}).")  # fmt: skip


@app.command()
def check(
    place: PLACE = None,
    project: PROJECT = Path(),
    sentences: Annotated[int, typer.Option(min=1, help="How many sentences, for each task.")] = 20,
    candidates: Annotated[int, typer.Option(min=1, max=MOST, help="How many candidates.")] = FIRST,
) -> None:
    """Compare candidates with exact ranking, by task. Ends with 1 if they differ too much."""
    from structalign.library.agreement import LEAST_FIRST, LEAST_TOP, agreement
    from structalign.library.opening import open_index
    from structalign.library.store import exists, open_all

    opened = open_index(place or project)
    if exists(opened.written):
        open_all(opened.written)  # verifies the frames, too
    rows = Table(box=None, pad_edge=False)
    for column in ("task", "sentences", "top 10", "first"):
        rows.add_column(column, justify="left" if column == "task" else "right")
    found = agreement(opened, opened.sentences(sentences), candidates)
    for row in found:
        rows.add_row(row.task or "all", str(row.sentences), f"{row.top:.3f}", f"{row.first:.3f}")
    terminal().print(rows)
    if opened.note:
        say(opened.note, err=True)
    if not found[-1].good:
        raise UserError(
            f"with {candidates} candidates, the top 10 agree with exact ranking in {found[-1].top:.3f} and the first "
            f"in {found[-1].first:.3f}, less than {LEAST_TOP} and {LEAST_FIRST}: search with --mode exact."
        )


@app.command()
def push(
    place: PLACE = None,
    project: PROJECT = Path(),
    shards: Annotated[int, typer.Option(min=1, help="Shards of a new collection.")] = 1,
    replicas: Annotated[int, typer.Option(min=1, help="Copies of each shard of a new collection.")] = 1,
) -> None:
    """Send the vectors to the Qdrant at STRUCTALIGN_QDRANT. Run it again to send only what changed."""
    from structalign.library.opening import open_index

    done = open_index(place or project).push(shards, replicas)
    terminal().print(f"{done.sent:,} segments sent, {done.removed:,} removed, {done.unchanged:,} unchanged.")


def quoted(path: Path) -> str:
    """The path, quoted for a shell."""
    from shlex import quote

    return quote(str(path))


def report(summary: "Summary", skipped: dict[str, int]) -> None:
    """Print what was done, and list the files that were not indexed."""
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
