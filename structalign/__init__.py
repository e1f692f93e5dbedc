"""Continual text-to-video retrieval with StructAlign (arXiv 2601.20597)."""

import os
from typing import TYPE_CHECKING, Any

# Waiting threads must not spin, which slows all other jobs on a shared machine. OpenMP reads this when torch loads.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

if TYPE_CHECKING:
    from structalign.library.opening import open_index
    from structalign.search.retriever import load

    __version__: str

__all__ = ["__version__", "load", "open_index"]


def __getattr__(name: str) -> Any:
    """Import the model only on first use, so that stages without a model start without torch."""
    if name == "load":
        from structalign.search.retriever import load

        return load
    if name == "open_index":
        from structalign.library.opening import open_index

        return open_index
    if name == "__version__":
        from importlib.metadata import version

        return version("structalign")
    raise AttributeError(f"module 'structalign' has no attribute {name!r}")
