"""Pause Python's garbage collector during imports.

A model's libraries make two million objects that live until the process ends. The collector would visit them repeatedly
during imports and again at exit. This takes a third of the processor time of a start.
"""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_own = False  # whether the process runs a command or stage of ours


def own_process() -> None:
    """Say that this process is ours. Then the collector never visits what was imported.

    In another program's process it does, since a freeze would keep that program's garbage, too.
    """
    global _own
    _own = True


@contextmanager
def paused() -> Iterator[None]:
    """Turn the collector off inside the block, and restore its state afterwards."""
    enabled, modules = gc.isenabled(), len(sys.modules)
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            if _own and len(sys.modules) > modules:
                gc.freeze()  # otherwise the next collection visits all that the block made
            gc.enable()
