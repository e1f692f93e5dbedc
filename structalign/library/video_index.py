"""`structalign.open_index(path)`: the interface of search, for an index of folders or a project.

Letters: V segments, N frames of a segment, D embedding.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from structalign.data.video import BrokenVideo
from structalign.errors import UserError
from structalign.library.candidates import Asked, Finder, Mode
from structalign.library.engines.choice import engine_of, note_of, qdrant_of
from structalign.library.engines.scan import Block
from structalign.library.entries import Entries, Entry, Filters, Floats
from structalign.library.hits import Hit, Results
from structalign.library.indexing import Summary
from structalign.library.limits import BUDGET, FIRST, MOST
from structalign.library.ranking import Span, Weak, hits, hits_among
from structalign.library.sampling import Sampler
from structalign.library.segments import spread
from structalign.library.store import Progress, progress
from structalign.model.backbone import Tokeniser
from structalign.model.video_text import TextEmbeddings
from structalign.search.candidates import Moments
from structalign.search.similarity import cosines, video_vectors

if TYPE_CHECKING:
    from structalign.library.engines.qdrant import Pushed


class UnknownId(UserError):
    """The index has no video with this id, or its file is missing."""


class VideoIndex(ABC):
    """Stored videos to search by sentences and videos. It shows the state when it was opened: see `newer`."""

    path: Path
    entries: Entries
    generation: int
    note: str | None = None  # a message for the user about videos that cannot be found

    def __len__(self) -> int:
        return len(self.entries.rows)

    @property
    def files(self) -> int:
        """The number of files, or clips of a project, that can be found."""
        return self.entries.files

    def search(
        self,
        text: str,
        top: int = 10,
        category: str | None = None,
        task: str | None = None,
        folder: str | Path | None = None,
        offset: int = 0,
        mode: Mode | None = None,
    ) -> list[Hit]:
        """The files that match a sentence, best first, without the first `offset`.

        category, task, folder: only these files. Their scores do not change. mode: `exact` ranks everything, and
        `candidates` at most 2,000 segments that one vector each suggests; None: `exact` while that is quick. Raises
        `UserError` for an empty sentence, if the index has no such category, task or folder, or if the method has no
        candidates.
        """
        return self.results(text, top, category, task, folder, offset, mode).hits

    def results(
        self,
        text: str,
        top: int = 10,
        category: str | None = None,
        task: str | None = None,
        folder: str | Path | None = None,
        offset: int = 0,
        mode: Mode | None = None,
        candidates: int | None = None,
    ) -> Results:
        """`search`, and how many candidates were ranked.

        candidates: how many to rank. None: 200, doubled up to 2,000 until there are `offset + top` files.
        """
        if not isinstance(text, str) or not text.strip():
            raise UserError("the sentence is empty: describe what the video shows.")
        filters = self._filters(category, task, folder)
        if not len(self):
            return Results([])
        sentence = " ".join(text.split())
        if self.mode(mode) == "candidates":
            return self._among(sentence, filters, top, offset, candidates)
        scores, similarity, span = self._scores(sentence)
        return Results(hits(self.entries, scores, similarity, span, filters, top, offset, self._weak(sentence)))

    def mode(self, wanted: Mode | None = None) -> Mode:
        """How a search ranks. Raises `UserError` if the method has no candidates."""
        if wanted is None:
            return "candidates" if self._numbers > BUDGET and self._has_vectors else "exact"
        if wanted == "candidates" and not self._has_vectors:
            raise UserError(
                "this method pools the frames by the sentence, so no single vector suggests candidates: search with "
                "--mode exact."
            )
        return wanted

    def _among(self, sentence: str, filters: Filters, top: int, offset: int, candidates: int | None) -> Results:
        asked, k = self._asked(sentence), candidates or FIRST
        while True:
            ranked = self.finder.ranked(asked, k, filters)
            found = hits_among(self.entries, ranked, top, offset, self._weak(sentence))
            more = len(ranked.scores) >= k and k < MOST
            if len(found) == top or not more or candidates is not None:
                return Results(found, len(ranked.scores), more)
            k = min(2 * k, MOST)

    @cached_property
    def finder(self) -> Finder:
        """What finds candidates."""
        blocks = self._blocks()
        engine = engine_of(self._pushed, self.entries, blocks, self._tasks)
        self.note = " ".join(filter(None, (self.note, note_of(engine, len(self))))) or None
        return Finder(self.entries, blocks, self.weights, engine, self._known)

    @property
    def _known(self) -> tuple[dict[int, Moments], list[int]] | None:
        """The moments of each task's vectors and the positions of the sample, if they are stored."""
        return None

    def push(self, shards: int = 1, replicas: int = 1) -> "Pushed":
        """Send the vectors to the Qdrant of STRUCTALIGN_QDRANT, or only what changed since the last time.

        shards, replicas: of a new collection. Raises `UserError` if there is no Qdrant, or if the method has no
        candidates.
        """
        self.mode("candidates")
        if not len(self):
            raise UserError(f"{self.path} has no videos yet: index some, then push.")
        return qdrant_of(self.path, self._tasks).push(self.entries, self._blocks(), shards, replicas)

    @property
    def _pushed(self) -> Path | None:
        """The path by which all segments were pushed. None if the index shows only some of them."""
        return self.path

    @property
    def _tasks(self) -> Sequence[int]:
        """The numbers of the tasks in `_blocks`. An index without tasks has one, 0."""
        return [0]

    @property
    def _has_vectors(self) -> bool:
        """Whether one vector of a segment suggests candidates."""
        return True

    @property
    @abstractmethod
    def weights(self) -> Mapping[str, float]:
        """The weight of each signal."""

    @property
    @abstractmethod
    def _numbers(self) -> int:
        """How many stored numbers exact search reads."""

    @abstractmethod
    def _blocks(self) -> list[Block]:
        """The vectors of all segments, in the order of `entries`."""

    @abstractmethod
    def _asked(self, sentence: str) -> Asked:
        """What candidates of a sentence are found and ranked by."""

    def similar(
        self, id: str, top: int = 10, category: str | None = None, task: str | None = None, offset: int = 0
    ) -> list[Hit]:
        """The files most similar to the file of this id (of a hit or a moment), without the file itself.

        They are ranked by the cosine of zero-shot CLIP's mean frames, across tasks. Raises `UserError` for an unknown
        id.
        """
        place = self._place(id)
        return self._like(self.entries.means[place], self.entries.rows[place].group, top, category, task, offset)

    def like(self, video: str | Path, top: int = 10, category: str | None = None, task: str | None = None) -> list[Hit]:
        """Like `similar`, for any video file."""
        places = self.entries.of_file(self._name(Path(video)))
        if places:
            group = self.entries.rows[places[0]].group
            return self._like(_mean(self.entries.means[places]), group, top, category, task)
        if not len(self):
            return []
        try:
            described = self.sampler.describe(Path(video))
        except BrokenVideo as reason:
            raise UserError(f"{video} cannot be compared: {reason}.") from None
        vectors = torch.stack([video_vectors(frames[None])[0] for frames in described.zero_shot])
        return self._like(_mean(vectors.numpy()), None, top, category, task)

    @torch.inference_mode()
    def explain(self, text: str, id: str) -> list[tuple[str, float, float]]:
        """For each word of a sentence: the word, the seconds of its best frame in this segment, and their cosine.

        Raises `UserError` for an unknown id.
        """
        at, words = self.word_frames(text, id)
        return [(word, at[int(np.argmax(found))], max(found)) for word, found in words]

    @torch.inference_mode()
    def word_frames(self, text: str, id: str) -> tuple[list[float], list[tuple[str, list[float]]]]:
        """The times in seconds of this segment's stored frames, and each word's cosine with each of them.

        Raises `UnknownId` for an unknown id.
        """
        place, sentence = self._place(id), " ".join(text.split())
        embeddings, frames = self._explained(sentence, place)
        found = cosines(embeddings.words, embeddings.mask, frames[None])[0, :, 0]
        at = spread(self.entries.rows[place].times, len(frames))
        words = self.tokeniser.words(self.tokeniser([sentence]))
        return list(map(float, at)), [
            (word, found[positions].amax(dim=0).tolist())  # a word may be several tokens
            for word, positions in words
        ]

    def entry(self, id: str) -> Entry:
        """The segment with this id. Raises `UnknownId` if there is none."""
        return self.entries.rows[self._place(id)]

    def _place(self, id: str) -> int:
        if (place := self.entries.place(id)) is None:
            raise UnknownId(f"the index has no segment {id}: use an id from a new search.")
        return place

    def path_of(self, id: str) -> Path:
        """The video file of a segment. A link that leaves the index's folders is refused.

        Raises `UnknownId` for an unknown id or a missing file.
        """
        entry = self.entry(id)
        path = next(filter(None, map(self._readable, (entry.file, *entry.also))), None)
        if path is None:
            raise UnknownId(f"the file of {id} is missing: index again, or search again.")
        return path

    @abstractmethod
    def _readable(self, file: str) -> Path | None:
        """The path of a file of this index, if it may be read."""

    @abstractmethod
    def read(self, sentences: Sequence[str]) -> None:
        """Encode sentences together, to speed up later searches for them. Their encodings are the same."""

    @abstractmethod
    def shown(self, file: str) -> str:
        """The name of a file for a person, without its place on this machine."""

    @abstractmethod
    def reopened(self) -> "VideoIndex":
        """The current index on disk. It reuses the loaded model if that is still right."""

    @abstractmethod
    def _explained(self, sentence: str, place: int) -> tuple[TextEmbeddings, Tensor]:
        """The sentence [1, L, D], encoded for the segment at a position, and the segment's frames [N, D]."""

    @property
    @abstractmethod
    def tokeniser(self) -> Tokeniser:
        """The tokeniser of the CLIP."""

    def _like(
        self,
        vector: Floats,
        group: str | None,
        top: int,
        category: str | None = None,
        task: str | None = None,
        offset: int = 0,
    ) -> list[Hit]:
        cosines = self.entries.means @ vector
        filters = self._filters(category, task, None)
        return hits(self.entries, cosines, cosines, self._whole, filters, top, offset, without=group)

    def _filters(self, category: str | None, task: str | None, folder: str | Path | None) -> Filters:
        """The filters. Raises `UserError` if one matches no video."""
        for name, value in (("category", category), ("task", task)):
            if value is not None and value not in (known := self.entries.values(name)):
                raise UserError(f"no stored video has the {name} {value!r}: {_choices(sorted(known))}.")
        filters = Filters(category, task, None if folder is None else self._name(Path(folder)))
        inside = None if folder is None else self.entries.admitted(Filters(folder=filters.folder))
        if inside is not None and not inside.any():
            raise UserError(f"no stored video is in {folder}: name a folder with stored videos.")
        return filters

    def _weak(self, sentence: str) -> Weak:
        """Whether a match is weak, by its position. None if unknown, for example without captions."""
        return lambda place: None

    def _whole(self, place: int) -> tuple[float, float, float]:
        entry = self.entries.rows[place]
        return entry.start, entry.end, entry.start

    @abstractmethod
    def _name(self, path: Path) -> str:
        """The name of a file in this index."""

    @abstractmethod
    def _scores(self, sentence: str) -> tuple[Floats, Floats, Span]:
        """Ranking scores [V] and absolute similarities [V] of all segments, and their spans (`ranking.hits`)."""

    @property
    @abstractmethod
    def sampler(self) -> Sampler:
        """The sampler that encodes files."""

    @abstractmethod
    def add(self, paths: Sequence[str | Path]) -> Summary:
        """Add files, or the videos of folders, to the index on disk. This opened index does not change."""

    def examples(self) -> list[str]:
        """A few example sentences."""
        return ["a person speaks", "a dog runs", "a street at night", "someone cooks"]

    @abstractmethod
    def sentences(self, count: int) -> list[tuple[str, str | None]]:
        """Some sentences to test search with, evenly spread, and the task of each or None.

        count: how many at most, for each task.
        """

    @property
    @abstractmethod
    def written(self) -> Path:
        """The folder that indexing writes to."""

    def progress(self) -> Progress | None:
        """The progress of a process that is indexing, or None."""
        return progress(self.written)

    @abstractmethod
    def newer(self) -> bool:
        """Whether the index on disk has another generation."""


def _mean(vectors: Floats) -> Floats:
    return F.normalize(torch.from_numpy(np.asarray(vectors, np.float32)).mean(dim=0), dim=0).numpy()


def _choices(there: Sequence[str]) -> str:
    if not there:
        return "the index has none, so leave it out"
    more = f" and {len(there) - 10} more" if len(there) > 10 else ""
    return f"choose one of {', '.join(there[:10])}{more}"
