"""What a search finds."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Moment:
    """A segment of a file. start, end, at: seconds; `at` is when the best matching frame appears. score: as a hit's."""

    id: str
    start: float
    end: float
    at: float
    score: float


@dataclass(frozen=True)
class Hit:
    """A file, or a clip of one, that a sentence or a video finds; `moments` are its best stretches, the best first.

    score: what ranks, as in evaluation. above: standard deviations of `score` above the average of the whole
    collection. similarity: an absolute measure, a cosine in [-1, 1]. weak: whether the sentence is unlike all training
    captions, so that it may be in no video; None without captions, and for what was added. playing: `direct`, `remux`
    or `transcode`.
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
        """When the best moment begins, seconds."""
        return self.moments[0].start

    @property
    def end(self) -> float:
        """When the best moment ends, seconds."""
        return self.moments[0].end
