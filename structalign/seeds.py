"""Seeds with names: every random tensor or order has a separate seed, keyed by its purpose.

So a change of `etf.dim` does not change the LoRA initialisation, and an appended task does not change earlier tasks.
"""

import hashlib


def seed_of(*parts: str | int) -> int:
    """A 63-bit seed from a key such as `(seed, "order", "t03", epoch)`. Equal keys give equal seeds on all machines."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
