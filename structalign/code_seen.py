"""The digest of a stage's code as it is now. It is read back if `check` has seen the same files.

Parsing the code takes a tenth of a second, and reading its bytes a tenth of that. Every stage needs its digest to
start, and most need it again to resume.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from structalign.code_digest import SOURCES, Code, named_modules, stage_digest
from structalign.paths import CODE

SEEN = "seen.json"  # in work/code: what `check` has seen of all stages


def write_digests(folder: Path, code: Code, stages: Iterable[str], params: Mapping[str, Any]) -> None:
    """Write a file with the digest of each stage's code, and seen.json with the digest of all source files."""
    source = source_digest(code)  # first: a file that is edited now then differs from what is recorded
    digests = {stage: stage_digest(code, stage, params) for stage in sorted(stages)}
    for stage, digest in digests.items():
        (folder / stage).write_text(digest + "\n", encoding="utf-8")
    named = {stage: named_modules(stage, params) for stage in digests}
    seen = {"source": source, "named": named, "digests": digests}
    (folder / SEEN).write_text(json.dumps(seen, indent=1) + "\n", encoding="utf-8")


def digest_now(stage: str, params: Mapping[str, Any], folder: Path = CODE) -> str:
    """`stage_digest` of the project's code. Parses it only if a file has changed since `check` wrote `folder`."""
    code, named = Code(), named_modules(stage, params)
    try:
        seen = json.loads((folder / SEEN).read_bytes())
        if seen["source"] == source_digest(code) and seen["named"][stage] == named:
            return str(seen["digests"][stage])
    except (OSError, ValueError, LookupError, TypeError):  # missing, or not what `check` wrote
        pass
    return stage_digest(code, stage, params)


def source_digest(code: Code) -> str:
    """SHA-256 of the names and bytes of all files that a stage's digest may depend on."""
    found = hashlib.sha256()
    for package, folder in sorted(code.packages.items()):
        for file in sorted(file for file in folder.rglob("*") if file.suffix in SOURCES and file.is_file()):
            content = file.read_bytes()
            found.update(f"{package} {file.relative_to(folder).as_posix()} {len(content)}\n".encode())
            found.update(content)
    return found.hexdigest()
