"""The CLIP of an index: its folder, and the hash that identifies it."""

import hashlib
from pathlib import Path

from structalign.data.pretrained import resolve
from structalign.errors import UserError
from structalign.store import digest

USED = (".json", ".txt", ".model", ".safetensors", ".bin")


def backbone_of(name: str) -> Path:
    """The folder of the CLIP called `name`. Raises `UserError` if there is none."""
    if not Path(name).expanduser().is_dir() and (name.startswith((".", "~", "/")) or name.count("/") > 1):
        raise UserError(f"--backbone {name}: there is no such folder: name a CLIP's folder, or a model on the hub.")
    return resolve(name).resolve()


def backbone_hash(folder: Path) -> str:
    """One hash of a CLIP's configuration, tokenizer and weights."""
    files = [file for file in sorted(folder.iterdir()) if file.suffix in USED and file.is_file()]
    return hashlib.sha256("".join(f"{file.name} {digest(file)}\n" for file in files).encode()).hexdigest()
