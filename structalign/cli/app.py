"""`structalign`: the root of the commands. A command's module is imported only when its name is given."""

from importlib import import_module
from keyword import iskeyword
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import structalign
from structalign.console import run, say

# name -> what `structalign --help` says of it; the module of that name beside this one holds `app` (`import`: import_)
COMMANDS = {
    "new": "Write a project that runs with this library.",
    "init": "Point the project at a folder of your own videos.",
    "import": "Point the project at MSR-VTT or ActivityNet.",
    "task": "Append a task.",
    "data": "Check the data before a run.",
    "repro": "Run what changed, as `dvc repro` does, two stages at a time.",
    "sweep": "Run many settings, and put them in tables.",
    "doctor": "Find what is wrong with the project, and mend it.",
    "index": "Make folders of videos searchable, without a project.",
    "search": "Find videos by a sentence.",
    "serve": "Search and watch in a browser.",
    "add": "Make more videos of a project searchable, without training.",
    "remove": "Hide what was added.",
    "list": "List what was added.",
    "compact": "Erase the vectors of what was removed.",
    "compare": "Put experiments side by side.",
    "costs": "Show what each stage cost on this machine.",
    "params": "Explain every parameter.",
    "preset": "Overlay presets on params.yaml.",
    "migrate": "Rewrite the files of an older version.",
    "import-released": "Make a checkpoint of the authors' released file.",
    "export-released": "Write a checkpoint as the authors' released file.",
}


class Lazy(TyperGroup):
    """A group that knows its commands by name and loads one when it is asked for."""

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
    """Print the version and end, if that was asked for."""
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
