"""`structalign add PATHS`: make more videos of a project searchable, without training."""

from pathlib import Path
from typing import Annotated

import typer

from structalign.cli.index import report, self_test
from structalign.console import say
from structalign.errors import UserError

app = typer.Typer(add_completion=False)


@app.command()
def add(
    paths: Annotated[
        list[Path] | None, typer.Argument(help="Videos, or folders of videos. Your files are not changed.")
    ] = None,
    category: Annotated[str | None, typer.Option(help="The category of these videos.")] = None,
    again: Annotated[bool, typer.Option("--again", help="Encode added videos again, after a new training.")] = False,
    project: Annotated[Path, typer.Option(help="The project's folder. Default: the current folder.")] = Path(),
) -> None:
    """Encode videos with the newest checkpoint, so that search finds them. Evaluation never uses them."""
    if again == bool(paths):
        raise UserError("no videos are named: name videos to add, or pass --again without a path.")
    if category is not None and not category.strip():
        raise UserError("--category is empty: name a category, or leave it out.")
    from structalign.library.added import add as add_videos
    from structalign.library.added import add_again, sampler_of
    from structalign.library.chain import read_chain

    chain = read_chain(project)
    sampler = sampler_of(chain)
    summary = add_again(chain, sampler) if again else add_videos(chain, sampler, paths or [], category)
    report(summary, summary.skipped)
    if summary.broken and not (summary.encoded or summary.unchanged or summary.duplicates or summary.moved):
        raise UserError("nothing was added.")
    if summary.encoded:
        from structalign.library.engines.choice import uses_qdrant
        from structalign.library.opening import open_index

        try:
            index = open_index(project)
            if uses_qdrant() or index.mode() == "candidates":  # a smaller project is ranked exactly
                self_test(index, index.sentences(1))
        except UserError as error:  # the videos are added, whatever keeps the project from being searched
            say(f"note: {error}", err=True)
