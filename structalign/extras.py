"""Extras of the package: which one installs a missing module."""

import importlib.util
import re
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires

from structalign.errors import UserError


def require(module: str) -> None:
    """Raise a `UserError` that names the extra if a module is not installed."""
    if importlib.util.find_spec(module) is None:
        raise lacking(module) or UserError(f"{module} is not installed: run `pip install {module}`.")


def lacking(module: str) -> UserError | None:
    """The error for a module that is not installed. None if no extra installs it.

    >>> print(lacking("dvc"))
    dvc is not installed. The extra `pipeline` needs it: run `pip install 'structalign[pipeline]'`.
    """
    first = re.split(r"[._]", module)[0].lower()
    extra = next((extra for name, extra in brought() if name == first), None)
    if extra is None:
        return None
    return UserError(
        f"{module} is not installed. The extra `{extra}` needs it: run `pip install 'structalign[{extra}]'`."
    )


def brought() -> Iterator[tuple[str, str]]:
    """Pairs (first word of a distribution's name, which is also that of the module; the extra that installs it)."""
    try:
        declared = requires("structalign") or []
    except PackageNotFoundError:  # the package is not installed, only copied
        declared = []
    for requirement in declared:
        extra = re.search(r"""extra == ["']([\w-]+)["']""", requirement)
        name = re.match(r"[A-Za-z0-9]+", requirement)
        if extra and name and extra[1] != "test":
            yield name[0].lower(), extra[1]
