"""What an extra of the package brings: which one a command lacks."""

import importlib.util
import re
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires

from structalign.errors import UserError


def require(module: str) -> None:
    """`UserError` that names the extra, if a module that a command runs is not installed."""
    if importlib.util.find_spec(module) is None:
        raise lacking(module) or UserError(f"{module} is not installed: `pip install {module}`.")


def lacking(module: str) -> UserError | None:
    """The sentence for a module that is not installed; None if no extra brings it.

    >>> print(lacking("dvc"))
    dvc is not installed, which the extra `pipeline` brings: `pip install 'structalign[pipeline]'`.
    """
    extra = next((extra for name, extra in brought() if name == module.partition(".")[0].lower()), None)
    if extra is None:
        return None
    return UserError(
        f"{module} is not installed, which the extra `{extra}` brings: `pip install 'structalign[{extra}]'`."
    )


def brought() -> Iterator[tuple[str, str]]:
    """(first part of a distribution's name, as modules of ours import it; the extra that brings it)."""
    try:
        declared = requires("structalign") or []
    except PackageNotFoundError:  # a copy of the code that was not installed
        declared = []
    for requirement in declared:
        extra = re.search(r"""extra == ["']([\w-]+)["']""", requirement)
        name = re.match(r"[A-Za-z0-9]+", requirement)
        if extra and name and extra[1] != "test":
            yield name[0].lower(), extra[1]
