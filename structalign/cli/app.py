"""`structalign`: the root of the commands. A command's module is imported only when the command runs."""

from importlib import import_module
from keyword import iskeyword
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import structalign
from structalign.console import run, say

# name -> its line in `structalign --help`. The module of that name in this folder holds `app` (`import`: import_).
COMMANDS = {
    "new": "Make a new project, ready for `dvc repro`.",
    "init": "Set the project up for a folder of your own videos.",
    "import": "Set the project up for MSR-VTT or ActivityNet.",
    "task": "Append a task with new categories.",
    "data": "Check the data before a run.",
    "repro": "Run what changed, like `dvc repro`, but two stages at a time.",
    "sweep": "Run many settings and put them in tables.",
    "doctor": "Find problems of a project, and fix them.",
    "index": "Make folders of videos searchable, without a project.",
    "search": "Find videos by a sentence.",
    "serve": "Search and watch videos in a browser.",
    "add": "Make more videos searchable in a project, without training.",
    "remove": "Hide added videos from search.",
    "list": "List the added videos.",
    "compact": "Erase the vectors of removed videos.",
    "compare": "Compare experiments side by side.",
    "costs": "Show what each stage cost on this machine.",
    "params": "Explain every parameter.",
    "preset": "Write presets into params.yaml.",
    "migrate": "Update the files of an older version.",
    "import-released": "Convert the authors' released file to a checkpoint.",
    "export-released": "Convert a checkpoint to the authors' format.",
}


class Lazy(TyperGroup):
    """A group that knows the names of its commands and loads a command when it is called."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"structalign.cli.{cmd_name.replace('-', '_')}{'_' * iskeyword(cmd_name)}")
        command = typer.main.get_command(module.app)
        command.name = cmd_name
        return command


app = typer.Typer(cls=Lazy, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


def _version(asked: bool) -> None:
    """Print the version and exit, if --version was given."""
    if asked:
        say(f"structalign {structalign.__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Continual text-to-video retrieval with StructAlign."""


def main() -> None:
    """Entry point of the `structalign` script."""
    run(app)
