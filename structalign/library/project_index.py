"""The index of a project: all readable clips of its table, and the added videos."""

import csv
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from structalign.collector import paused
from structalign.data.collection import why_absent
from structalign.data.tasks import TASKS
from structalign.errors import UserError
from structalign.library.added import add
from structalign.library.candidates import Asked
from structalign.library.chain import Chain, other_backbone, read_chain
from structalign.library.encoded_sentences import EncodedSentences
from structalign.library.engines.scan import Block
from structalign.library.entries import Entries, Floats, Joined
from structalign.library.indexing import Summary
from structalign.library.parts import Chosen, Parts
from structalign.library.project_parts import open_added_table, parts_of_table, read_added, read_clips
from structalign.library.ranking import Span, Weak
from structalign.library.sampling import Sampler
from structalign.library.scorer import Scorer
from structalign.library.store import Shard, Snapshot, exists, generation_of, open_all
from structalign.library.video_index import VideoIndex
from structalign.model.backbone import Tokeniser
from structalign.model.checkpoint import fingerprint
from structalign.model.video_text import TextEmbeddings
from structalign.params.ranking import Ranking
from structalign.params.reading import PARAMS
from structalign.params.reading import read as read_params
from structalign.paths import ADDED, CHECKPOINTS, COLLECTION, DATA, INDEXES
from structalign.search.candidates import Moments, moments, moments_by_task, sampled
from structalign.search.familiarity import familiarity
from structalign.search.index import Index
from structalign.search.retriever import Retriever, load
from structalign.search.similarity import video_vectors

EXAMPLES = 6


class ProjectIndex(VideoIndex):
    """The stored videos of a project, up to the task `after`. With `split`, only its clips and no added videos."""

    @paused()
    def __init__(self, project: Path, after: str | None = None, split: str | None = None, chain: Chain | None = None):
        self.path, self.after, self.split = project, after, split
        self._stamps = _stamps(project)  # before reading, so that a later change counts as newer
        self.chain = read_chain(project, after) if chain is None else chain
        self._index = Index(self.chain.index, project)
        notes = [note] if (note := other_backbone(self.chain)) else []
        self.table = open_added_table(self.chain) if split is None else None
        self.added: Snapshot | None = None
        shards: list[Shard] = []
        if exists(project / ADDED) and self.table is None:
            self.added, shards = open_all(project / ADDED)
        self.generation = self.table.generation if self.table else self.added.generation if self.added else 0
        clips = read_clips(self.chain, self._index, split)
        parts, captions = [*clips.parts], clips.captions
        if clips.unstored and split in (None, "train"):
            notes.append(
                f"the training clips of {', '.join(clips.unstored)} are not stored for search: run `dvc repro`."
            )
        if any("sentences" not in observed for observed in captions):
            notes.append("an older version stored the training captions, so no match is called weak: run `dvc repro`.")
            captions = []
        self.note = " ".join(notes) or None
        if split is None and self.added is not None:
            parts += read_added(self.chain, self.added, shards)
        own = [entry for part in parts for entry in part.entries]
        if self.table is not None:
            parts += parts_of_table(self.chain, self.table)
        self._parts = Parts(parts)
        if not parts:
            what = f"of split {split}" if split else "at all"
            raise UserError(f"{self.chain.index} names no stored videos {what}: add some and run `dvc repro`.")
        means = [video_vectors(part.gallery.zero_shot) for part in parts if part.means is None]
        whole = torch.cat(means) if means else torch.zeros(0, 1)
        self._familiar = familiarity(captions, whole[[entry.split != "added" for entry in own]])
        self.entries = Entries(own, whole.numpy())
        if self.table is not None:
            self.entries = Joined([self.entries, self.table.entries] if own else [self.table.entries])
        self._weights = read_params("ranking", Ranking, project / PARAMS).weights()

    @cached_property
    def retriever(self) -> Retriever:
        """The newest checkpoint, loaded on first use. Raises `UserError` if it is another one by then."""
        found = load(self.chain.checkpoint)
        if fingerprint(self.chain.checkpoint) != self.chain.newest:
            raise UserError(f"{self.chain.checkpoint} has changed since its index was opened: open the index again.")
        return found

    @property
    def weights(self) -> Mapping[str, float]:
        return self._weights

    @property
    def tokeniser(self) -> Tokeniser:
        return self.retriever.tokeniser

    @cached_property
    def sampler(self) -> Sampler:
        """The sampler that encodes files with the newest checkpoint."""
        return Sampler(self.retriever.encoder, self.retriever.pixels)

    @property
    def _states(self) -> Mapping[str, Any]:
        """The states of the signals that are used."""
        return {name: state for name, state in self._index.states.items() if state is not None and self.weights[name]}

    @cached_property
    def _encoded(self) -> EncodedSentences:
        zero_shot = bool(self._states) or self._familiar is not None
        tasks = sorted({part.gallery.encoded_as for part in self._parts})
        return EncodedSentences(self.retriever.encoder, self.tokeniser, tasks, zero_shot)

    @cached_property
    def _scorer(self) -> Scorer:
        return Scorer(
            self._parts,
            self.entries.rows,
            self._encoded,
            self.retriever.encoder,
            self._states,
            self.weights,
            as_evaluated=self.split is not None,
        )

    def read(self, sentences: Sequence[str]) -> None:
        self._encoded.read(sentences)

    def _scores(self, sentence: str) -> tuple[Floats, Floats, Span]:
        return self._scorer.scores(sentence)

    def _explained(self, sentence: str, place: int) -> tuple[TextEmbeddings, Tensor]:
        return self._scorer.explained(sentence, place)

    def _weak(self, sentence: str) -> Weak:
        """Whether matches are weak: all or none, except that captions tell nothing about added videos."""
        _, plain = self._encoded.of(sentence)
        if self._familiar is None or plain is None:
            return super()._weak(sentence)
        weak = bool(self._familiar.weak(plain)[0])
        return lambda place: None if self.entries.rows[place].split == "added" else weak

    @property
    def _pushed(self) -> Path | None:
        return self.path if self.split is None else None

    @property
    def _has_vectors(self) -> bool:
        return self.retriever.encoder.head.vectors is not None

    @property
    def _numbers(self) -> int:
        return 0 if self.split is not None else self._parts.numbers  # evaluation's gallery is always ranked exactly

    @property
    def _tasks(self) -> list[int]:
        """The number of each task with stored videos."""
        return self._parts.tasks

    def _blocks(self) -> list[Block]:
        tasks, of_video = self._tasks, self.retriever.encoder.head.vectors
        assert of_video is not None
        return [
            Block(
                tasks.index(part.gallery.number),
                of_video(part.gallery.frames).numpy() if part.means is None else part.means,
            )
            for part in self._parts
        ]

    @property
    def _known(self) -> tuple[dict[int, Moments], list[int]] | None:
        if self.table is None:
            return None
        blocks = [block for block, part in zip(self._blocks(), self._parts, strict=True) if part.means is None]
        tasks, stored = self._tasks, self.table.moments.items()
        found = [(tasks.index(task), own) for task, own in stored if task in tasks]
        found += [(block.task, moments(block.vectors)) for block in blocks]
        first = sum(len(block.vectors) for block in blocks)
        places = [*range(first), *(first + place for place in self.table.sample)]
        return moments_by_task(found), sorted(
            places[i] for i in sampled(self.entries.rows[place].id for place in places)
        )

    @torch.inference_mode()
    def _asked(self, sentence: str) -> Asked:
        return self._scorer.asked(sentence, lambda: self._sample)

    @cached_property
    def _sample(self) -> Chosen:
        """The sampled segments, ready to be compared."""
        head, (places, _, _) = self.retriever.encoder.head, self.finder.sample
        return [(here, part.prepared(head)) for here, part in self._parts.some(places)]

    def _name(self, path: Path) -> str:
        """A clip's name in the table, or the real path of an added file."""
        real, videos = path.resolve(), (self.path / DATA / "videos").resolve()
        if real.is_relative_to(videos):
            return str(real.relative_to(videos))
        return str(path) if not path.exists() and not path.is_absolute() else str(real)

    def shown(self, file: str) -> str:
        """The name in the table, or the file name of an added file."""
        return Path(file).name if Path(file).is_absolute() else file

    def _readable(self, file: str) -> Path | None:
        """The path of a clip or of an added file. None if a link has replaced the added file."""
        path = Path(file)
        if path.is_absolute():
            return path if path.resolve() == path and path.is_file() else None
        videos = self.path / DATA / "videos"
        return None if why_absent(videos, file) else videos / file

    def reopened(self) -> "ProjectIndex":
        index = ProjectIndex(self.path, self.after, self.split)
        same = (index.chain.checkpoint, index.chain.newest) == (self.chain.checkpoint, self.chain.newest)
        if same and "retriever" in self.__dict__:
            index.retriever = self.retriever
        return index

    def examples(self) -> list[str]:
        """Evenly spread captions of the table."""
        texts = list(dict.fromkeys(filter(None, (row.get("caption") for row in self._table()))))
        return [text[:100] for text in texts[:: max(1, len(texts) // EXAMPLES)][:EXAMPLES]]

    def sentences(self, count: int) -> list[tuple[str, str | None]]:
        """Captions of the table whose clips can be found, evenly spread over each task."""
        by_task: dict[str, list[str]] = {}
        tasks = {entry.file: entry.task for entry in self.entries.rows if entry.task is not None}
        for row in self._table():
            if row.get("caption") and (task := tasks.get(row.get("video", ""))) is not None:
                by_task.setdefault(task, []).append(row["caption"])
        return [
            (text, task)
            for task, texts in sorted(by_task.items())
            for text in texts[:: max(1, -(-len(texts) // count))][:count]
        ]

    def _table(self) -> list[dict[str, str]]:
        """The rows of captions.csv, or none if it cannot be read."""
        try:
            with (self.path / DATA / "captions.csv").open(encoding="utf-8-sig", newline="") as stream:
                return list(csv.DictReader(stream))
        except (OSError, ValueError, csv.Error):
            return []

    @property
    def written(self) -> Path:
        return self.path / ADDED

    def newer(self) -> bool:
        """Whether the index on disk is newer, also because of `dvc repro`."""
        added = self.path / ADDED
        now = generation_of(added) if exists(added) else None
        before = self.table or self.added
        return now != (before.generation if before else None) or _stamps(self.path) != self._stamps

    def add(self, paths: Sequence[str | Path], category: str | None = None) -> Summary:
        """Encode files, or the videos of folders, with the newest checkpoint, and add them to the project.

        Content that is already there is reported and not encoded. Raises `UserError` if a path does not exist.
        """
        return add(self.chain, self.sampler, paths, category)


def _stamps(project: Path) -> list[tuple[str, int, int]]:
    """Sizes and times of the files of a project's index, to detect changes without reading them."""
    files = [project / TASKS, project / PARAMS, *(project / INDEXES).glob("*.json")]
    files += [*(project / CHECKPOINTS).glob("*/config.json"), *(project / COLLECTION).glob("*/index.json")]
    stamps = []
    for file in sorted(files):
        with suppress(OSError):
            about = file.stat()
            stamps.append((str(file), about.st_mtime_ns, about.st_size))
    return stamps
