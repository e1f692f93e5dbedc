"""The CLIP of an index: its folder, and the hash that identifies it."""

import hashlib
from pathlib import Path

from structalign.data.pretrained import of_option, resolve
from structalign.store import digest

USED = (".json", ".txt", ".model", ".safetensors", ".bin")


def backbone_of(name: str) -> Path:
    """The folder of the CLIP that `--backbone` names. Raises `UserError` if there is none."""
    return resolve(name, of_option(name)).resolve()


def backbone_hash(folder: Path) -> str:
    """One hash of a CLIP's configuration, tokenizer and weights."""
    files = [file for file in sorted(folder.iterdir()) if file.suffix in USED and file.is_file()]
    return hashlib.sha256("".join(f"{file.name} {digest(file)}\n" for file in files).encode()).hexdigest()
