"""Search results."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Moment:
    """A segment of a file. start, end, at: seconds. `at` is the time of the best matching frame. score: as in `Hit`."""

    id: str
    start: float
    end: float
    at: float
    score: float


@dataclass(frozen=True)
class Hit:
    """A file or clip found by a sentence or a video. `moments` are its best stretches, best first.

    score: the ranking score, as in evaluation. above: `score` in standard deviations above the collection's mean.
    similarity: an absolute measure, a cosine in [-1, 1]. weak: whether the sentence is unlike all training captions and
    all stored videos, so that perhaps no video shows it. None without captions, and for added videos. playing:
    `direct`, `remux` or `transcode`.
    """

    id: str
    file: str
    score: float
    above: float
    similarity: float
    moments: list[Moment]
    weak: bool | None = None
    category: str | None = None
    task: str | None = None
    split: str | None = None
    duration: float = 0.0
    playing: str = "direct"
    also: list[str] = field(default_factory=list)

    @property
    def start(self) -> float:
        """Start of the best moment in seconds."""
        return self.moments[0].start

    @property
    def end(self) -> float:
        """End of the best moment in seconds."""
        return self.moments[0].end


@dataclass(frozen=True)
class Results:
    """The hits of a search. candidates: how many segments were ranked, None for all. more: whether more may be found.

    With `candidates` the order ends there. Twice as many may find more.
    """

    hits: list[Hit]
    candidates: int | None = None
    more: bool = False
