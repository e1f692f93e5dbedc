"""Keep freed memory for the next step of a training run.

The tensors of a step are freed and made again in the next one. glibc returns large ones to the kernel, which clears
their pages every time. That took a tenth of the processor time of training the sample.
"""

import ctypes
from contextlib import suppress

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # parameters of glibc's mallopt(3), from malloc.h
KEPT = 2**28  # bytes of free memory at the end of the heap that are kept
LARGE = 2**25  # bytes; a larger block is still mapped on its own, and returned. It is glibc's own limit.


def keep_freed_memory() -> None:
    """Keep up to 256 MiB of freed memory at the end of the heap. Does nothing where the C library is not glibc."""
    with suppress(AttributeError, OSError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_MMAP_THRESHOLD, LARGE)
        mallopt(M_TRIM_THRESHOLD, KEPT)
