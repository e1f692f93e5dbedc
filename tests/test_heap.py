"""Freed memory is used again instead of being returned to the kernel."""

import subprocess
import sys
from platform import libc_ver

import pytest

from structalign.heap import keep_freed_memory

BLOCKS = """
import resource, sys
from structalign.heap import keep_freed_memory
if "keep" in sys.argv:
    keep_freed_memory()
for step in range(21):
    if step == 1:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [bytearray(b"x" * size) for size in (3_000_000, 9_000_000, 5_000_000)]
    del blocks
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(*how: str) -> int:
    """The pages that the kernel cleared for 20 steps after the first one, in a new process."""
    done = subprocess.run([sys.executable, "-c", BLOCKS, *how], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(libc_ver()[0] != "glibc", reason="only glibc has these settings")
def test_a_step_uses_the_memory_of_the_step_before() -> None:
    assert faults("keep") * 10 < faults()


def test_without_glibc_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctypes.CDLL", lambda name: object())
    keep_freed_memory()
