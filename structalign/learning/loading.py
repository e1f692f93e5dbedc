"""Load the chosen method by name. No other file of `learning.methods` is imported."""

from importlib import import_module
from pathlib import Path
from typing import cast

from structalign.errors import UserError
from structalign.learning.method import Method

FOLDER = Path(__file__).with_name("methods")


def load_method(name: str) -> Method:
    """METHOD of methods/<name>.py. Raises `UserError` for an unknown name, and lists all methods."""
    known = sorted(file.stem for file in FOLDER.glob("[!_]*.py"))
    if name not in known:
        raise UserError(f"`method.name` = {name!r} is not a method: choose one of {', '.join(known)}.")
    return cast(Method, import_module(f"structalign.learning.methods.{name}").METHOD)
