"""Randomness with names: every random tensor or order has its own seed, keyed by what it is for.

So a changed `etf.dim` leaves the LoRA initialisation alone, and an appended task leaves the past alone.
"""

import hashlib


def seed_of(*parts: str | int) -> int:
    """A 63-bit seed from a key such as `(seed, "order", "t03", epoch)`; equal keys give equal seeds anywhere."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
