"""`structalign.open_index(path)`: what the command and a server ask, of raw folders or of a project.

Letters: V segments, N frames of a segment, D embedding.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from structalign.data.video import BrokenVideo
from structalign.errors import UserError
from structalign.library.hits import Hit
from structalign.library.indexing import Summary
from structalign.library.ranking import Entries, Entry, Filters, Floats, Span, Weak, hits
from structalign.library.sampling import Sampler
from structalign.library.store import Progress, progress
from structalign.model.backbone import Tokeniser
from structalign.model.video_text import TextEmbeddings
from structalign.search.similarity import cosines, video_vectors


class UnknownId(UserError):
    """The index has no video of this id, or its file is not there any more."""


class VideoIndex(ABC):
    """Stored videos that sentences and videos find. It is as it was when it was opened: see `newer`."""

    path: Path
    entries: Entries
    generation: int
    note: str | None = None  # what a person should know of what cannot be found

    def __len__(self) -> int:
        return len(self.entries.rows)

    @property
    def files(self) -> int:
        """How many files, or clips of a project, can be found."""
        return len(self.entries.groups)

    def search(
        self,
        text: str,
        top: int = 10,
        category: str | None = None,
        task: str | None = None,
        folder: str | Path | None = None,
        offset: int = 0,
    ) -> list[Hit]:
        """The files that fit a sentence, the best first; from the best but `offset` on.

        category, task, folder: which are asked for; the scores stay those among all. Raises `UserError` for an empty
        sentence, or where the index has no such category, task or folder.
        """
        if not isinstance(text, str) or not text.strip():
            raise UserError("the sentence is empty: say in words what the video shows.")
        filters = self._filters(category, task, folder)
        if not len(self):
            return []
        sentence = " ".join(text.split())
        scores, similarity, span = self._scores(sentence)
        return hits(self.entries, scores, similarity, span, filters, top, offset, self._weak(sentence))

    def similar(
        self, id: str, top: int = 10, category: str | None = None, task: str | None = None, offset: int = 0
    ) -> list[Hit]:
        """The files that look like the one of this id (a hit's, or a moment's), itself left out, by the cosine of
        zero-shot CLIP's mean frames, whatever their tasks. Raises `UserError` where there is no such id."""
        place = self._place(id)
        return self._like(self.entries.means[place], self.entries.rows[place].group, top, category, task, offset)

    def like(self, video: str | Path, top: int = 10, category: str | None = None, task: str | None = None) -> list[Hit]:
        """As `similar`, of a video file that the index need not have."""
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
        """Of each word of a sentence: the word, when the frame of this segment appears that it fits best, seconds, and
        their cosine. Raises `UserError` where there is no such id."""
        at, words = self.word_frames(text, id)
        return [(word, at[int(np.argmax(found))], max(found)) for word, found in words]

    @torch.inference_mode()
    def word_frames(self, text: str, id: str) -> tuple[list[float], list[tuple[str, list[float]]]]:
        """When the stored frames of this segment appear, seconds, and of each word of a sentence its cosine with each
        of them. Raises `UnknownId` where there is no such id."""
        place, sentence = self._place(id), " ".join(text.split())
        embeddings, frames = self._explained(sentence, place)
        found = cosines(embeddings.words, embeddings.mask, frames[None])[0, :, 0]
        times = self.entries.rows[place].times
        at = times if len(frames) == len(times) else [times[len(times) // 2]]
        words = self.tokeniser.words(self.tokeniser([sentence]))
        return list(map(float, at)), [
            (word, found[positions].amax(dim=0).tolist())  # a word may be several tokens
            for word, positions in words
        ]

    def entry(self, id: str) -> Entry:
        """The segment of this id. Raises `UnknownId` where there is none."""
        return self.entries.rows[self._place(id)]

    def _place(self, id: str) -> int:
        if (place := self.entries.place(id)) is None:
            raise UnknownId(f"the index has no segment {id}: take an id of a search on it as it is now.")
        return place

    def path_of(self, id: str) -> Path:
        """The video file of a segment, which may be read: no link leads out of where the index found it. Raises
        `UnknownId` where there is no such id, or no such file any more."""
        entry = self.entry(id)
        path = next(filter(None, map(self._readable, (entry.file, *entry.also))), None)
        if path is None:
            raise UnknownId(f"the file of {id} is not there any more: index again, or search again.")
        return path

    @abstractmethod
    def _readable(self, file: str) -> Path | None:
        """Where a file of this index is, if it may be read."""

    @abstractmethod
    def read(self, sentences: Sequence[str]) -> None:
        """Encode sentences together, so that a search for one of them need not: a sentence's numbers are the same."""

    @abstractmethod
    def shown(self, file: str) -> str:
        """What a file is called for a person: no place on this machine."""

    @abstractmethod
    def reopened(self) -> "VideoIndex":
        """The index as it is on disk now, by the model that is loaded where that is the same."""

    @abstractmethod
    def _explained(self, sentence: str, place: int) -> tuple[TextEmbeddings, Tensor]:
        """The sentence as it is read for the segment at a place [1, L, D], and the segment's frames [N, D]."""

    @property
    @abstractmethod
    def tokeniser(self) -> Tokeniser:
        """That of the CLIP."""

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
        """`UserError` where nothing can be found by one of them."""
        rows = self.entries.rows
        for name, value, known in (
            ("category", category, {entry.category for entry in rows}),
            ("task", task, {entry.task for entry in rows}),
        ):
            there = sorted(value for value in known if value is not None)
            if value is not None and value not in there:
                raise UserError(f"no stored video has the {name} {value!r}: {_choices(there)}.")
        filters = Filters(category, task, None if folder is None else self._name(Path(folder)))
        if folder is not None and not any(Filters(folder=filters.folder).admits(entry) for entry in rows):
            raise UserError(f"no stored video lies in {folder}: name a folder above one.")
        return filters

    def _weak(self, sentence: str) -> Weak:
        """Whether a match is weak, by its place; None where nothing tells, as without captions."""
        return lambda place: None

    def _whole(self, place: int) -> tuple[float, float, float]:
        entry = self.entries.rows[place]
        return entry.start, entry.end, entry.start

    @abstractmethod
    def _name(self, path: Path) -> str:
        """What a file is called in this index."""

    @abstractmethod
    def _scores(self, sentence: str) -> tuple[Floats, Floats, Span]:
        """Of every segment what ranks it [V] and its absolute similarity [V], and of one its span (`ranking.hits`)."""

    @property
    @abstractmethod
    def sampler(self) -> Sampler:
        """What describes a file."""

    @abstractmethod
    def add(self, paths: Sequence[str | Path]) -> Summary:
        """Take files, or the videos of folders, into the index on disk; this one stays as it is."""

    def examples(self) -> list[str]:
        """A few sentences to begin with."""
        return ["a person speaks", "a dog runs", "a street at night", "someone cooks"]

    @property
    @abstractmethod
    def written(self) -> Path:
        """The folder that is written when something is indexed."""

    def progress(self) -> Progress | None:
        """How far a process has come that indexes now; None where none does."""
        return progress(self.written)

    @abstractmethod
    def newer(self) -> bool:
        """Whether the index on disk is of another generation than this."""


def _mean(vectors: Floats) -> Floats:
    return F.normalize(torch.from_numpy(np.asarray(vectors, np.float32)).mean(dim=0), dim=0).numpy()


def _choices(there: Sequence[str]) -> str:
    if not there:
        return "the index has none"
    more = f" and {len(there) - 10} more" if len(there) > 10 else ""
    return f"there are {', '.join(there[:10])}{more}"
