"""Videos added to a project: stored in `added/`, outside DVC's outputs. Evaluation never uses them."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

from structalign.errors import UserError
from structalign.library.chain import Chain
from structalign.library.finding import find, real_folders
from structalign.library.indexing import Label, Summary, count_others
from structalign.library.indexing import add as take_in
from structalign.library.sampling import Sampler
from structalign.library.store import Encoding, Shard, Snapshot, current_rows, exists, open_all, writing
from structalign.library.table_writing import refresh_table
from structalign.paths import ADDED, MANIFEST
from structalign.search.retriever import load
from structalign.store import digest, read_json

ABOUT = {"kind": "added"}


def encoding_of(chain: Chain) -> Encoding:
    """The encoding of the newest checkpoint."""
    return Encoding(chain.newest, len(chain.tasks))


def add(chain: Chain, sampler: Sampler, paths: Sequence[str | Path], category: str | None = None) -> Summary:
    """Encode files, or the videos of folders, with the newest checkpoint, and add them to the project.

    Content that is already there is reported and not encoded. Raises `UserError` if a path does not exist.
    """
    named: dict[str, os.stat_result] = {}
    for path in map(Path, paths):
        if not path.exists():
            raise UserError(f"{path} does not exist: name a video, or a folder of videos.")
        if not path.is_dir():
            named[str(path.resolve())] = path.stat()
    found = find(real_folders([path for path in map(Path, paths) if path.is_dir()]))
    own = {hashed: id for id, hashed in clip_hashes(chain).items()}
    files, duplicates = list[tuple[str, os.stat_result]](), list[tuple[str, str]]()
    for name, stat in (found.videos | named).items():
        clip = own.get(digest(Path(name))) if Path(name).is_file() else None
        if clip is None:
            files.append((name, stat))
        else:
            duplicates.append((name, f"{clip} of captions.csv"))
    with writing(chain.project / ADDED, ABOUT, shelter=True) as writer:
        stale = stale_contents(chain, *open_all(writer.path))
        summary = take_in(writer, files, sampler, encoding_of(chain), Label(category), stale)
        refresh_table(writer)
    summary.duplicates += duplicates
    summary.skipped = found.skipped + count_others(summary.broken, named)
    return summary


def add_again(chain: Chain, sampler: Sampler) -> Summary:
    """Encode again what a replaced checkpoint encoded, with the newest checkpoint. Hide missing files."""
    total = Summary()
    with writing(chain.project / ADDED, ABOUT, shelter=True) as writer:
        stale = stale_contents(chain, *open_all(writer.path))
        by_label: dict[Label, list[tuple[str, os.stat_result]]] = {}
        catalogue = deepcopy(writer.snapshot.catalogue)
        for name, file in writer.snapshot.catalogue.files.items():
            if file.content not in stale:
                continue
            try:
                stat = Path(name).stat()
            except OSError:
                del catalogue.files[name]
                total.gone.append(name)
                continue
            about = catalogue.contents[file.content]
            by_label.setdefault(Label(about.category, about.task), []).append((name, stat))
        if total.gone:
            writer.commit(catalogue, writer.snapshot.shards)
        for label, files in by_label.items():
            part = take_in(writer, files, sampler, encoding_of(chain), label, stale)
            total.encoded += part.encoded
            total.broken |= part.broken
            total.segments += part.segments
            total.seconds += part.seconds
            total.decoding += part.decoding
            total.encoding += part.encoding
        refresh_table(writer)
    return total


def stale_contents(chain: Chain, snapshot: Snapshot, shards: Sequence[Shard]) -> set[str]:
    """The contents whose encoder is no longer a checkpoint of the chain."""
    fingerprints = chain.fingerprints()
    stale: set[str] = set()
    for shard, rows in zip(shards, current_rows(shards, snapshot.catalogue.contents), strict=True):
        encoding = shard.entry.encoding
        if fingerprints[encoding.task - 1 : encoding.task] not in ([encoding.fingerprint], []):
            stale |= {shard.rows[i].content for i in rows}
    return stale


def remove(project: Path, names: Sequence[str]) -> list[str]:
    """Hide added files, by path or by the id of a hit. Returns their paths. The files stay.

    Raises `UserError` if a file was not added. Then nothing is hidden.
    """
    if not exists(project / ADDED):
        raise UserError(f"{project / ADDED} has no videos: add some with `structalign add PATHS`.")
    with writing(project / ADDED, ABOUT) as writer:
        catalogue, hidden = deepcopy(writer.snapshot.catalogue), list[str]()
        for name in names:
            real = str(Path(name).resolve())
            found = [
                path for path, file in catalogue.files.items() if path in (name, real) or _is_id(name, file.content)
            ]
            if not found and Path(name).is_dir():
                found = [path for path in catalogue.files if Path(real) in Path(path).parents]
            if not found:
                raise UserError(
                    f"{name} was not added: see `structalign list`. To remove a clip of the project, remove its "
                    "rows from captions.csv."
                )
            hidden += found
            for path in found:
                del catalogue.files[path]
        writer.commit(catalogue, writer.snapshot.shards)
        refresh_table(writer)
    return hidden


def _is_id(name: str, content: str) -> bool:
    """Whether `name` is the id of a segment of this content, or the part of the id before the number."""
    return len(name) >= 16 and content.startswith(name.partition("-")[0])


@dataclass(frozen=True)
class Listed:
    """An added file. task: the number of the task whose encoder stored it."""

    file: str
    category: str | None
    seconds: float
    segments: int
    task: int


def listing(project: Path) -> list[Listed]:
    """The added files that can be found, by path."""
    if not exists(project / ADDED):
        return []
    snapshot, shards = open_all(project / ADDED)
    catalogue, counts, tasks = snapshot.catalogue, Counter[str](), dict[str, int]()
    for shard, rows in zip(shards, current_rows(shards, catalogue.contents), strict=True):
        counts.update(shard.rows[i].content for i in rows)
        tasks |= {shard.rows[i].content: shard.entry.encoding.task for i in rows}
    return [
        Listed(path, about.category, about.duration, counts[file.content], tasks[file.content])
        for path, file in sorted(catalogue.files.items())
        if (about := catalogue.contents.get(file.content)) is not None
    ]


def sampler_of(chain: Chain) -> Sampler:
    """The sampler that encodes files with the newest checkpoint."""
    retriever = load(chain.checkpoint)
    return Sampler(retriever.encoder, retriever.pixels, None)


def clip_hashes(chain: Chain) -> Mapping[str, str]:
    """SHA-256 of each clip's file, by the clip's id."""
    return {
        row["id"]: row["sha256"]
        for task in chain.tasks
        for row in read_json(chain.project / MANIFEST / task / "videos.json")["videos"]
    }
