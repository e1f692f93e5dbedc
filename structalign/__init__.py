"""Continual text-to-video retrieval with StructAlign (arXiv 2601.20597)."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from structalign.retrieval.retriever import load

__all__ = ["load"]


def __getattr__(name: str) -> Any:
    """Import the model only when it is asked for: stages without a model start without torch."""
    if name == "load":
        from structalign.retrieval.retriever import load

        return load
    raise AttributeError(f"module 'structalign' has no attribute {name!r}")
