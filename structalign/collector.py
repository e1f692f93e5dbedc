"""Python's collector of cyclic garbage, kept off what an import makes.

A model's libraries are two million objects that live until the process ends. The collector would look at them again and
again while they are made, and once more at exit: a third of the processor time of a start.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def paused() -> Iterator[None]:
    """Nothing is collected inside the block; afterwards the collector is as it was."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
