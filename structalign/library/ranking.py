"""Rank stored segments by score, grouped by file, with the best moments first.

Letters: V segments, D embedding.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from structalign.library.entries import Entries, Filters, Floats, Stack
from structalign.library.hits import Hit, Moment

Span = Callable[[int], tuple[float, float, float]]
Weak = Callable[[int], bool | None]
Scores = Floats | dict[int, float]  # by position
SAME_SCORE, SAME_SIGHT = 0.02, 0.9  # cosines: similar neighbours are one moment
MOMENTS = 5  # at most, per file


def hits(
    entries: Entries,
    scores: Floats,
    similarity: Floats,
    span: Span,
    filters: Filters,
    top: int,
    offset: int = 0,
    weak: Weak = lambda place: None,
    without: str | None = None,
) -> list[Hit]:
    """`top` groups from `offset` on, ranked by their best segment.

    scores: [V] ranking scores. similarity: [V], absolute. span: start, end and time of the best frame of the segment at
    a position. weak: whether the match at a position is weak. without: a group to leave out.
    """
    admitted = entries.admitted(filters)
    order = np.argsort(-scores, kind="stable")
    places = order.tolist() if admitted is None else order[admitted[order]].tolist()
    usual = float(scores.mean()), max(float(scores.std()), 1e-6)
    return [
        _hit(entries, place, scores, similarity, span, admitted, usual, weak)
        for place in _best_of_groups(entries, places, offset + top, without)[offset:]
    ]


@dataclass(frozen=True)
class Ranked:
    """Some segments by their positions, best first, with their scores and absolute similarities.

    usual: mean and deviation of the score over all segments.
    """

    scores: dict[int, float]
    similarity: dict[int, float]
    span: Span
    usual: tuple[float, float]


def hits_among(
    entries: Entries, ranked: Ranked, top: int, offset: int = 0, weak: Weak = lambda place: None
) -> list[Hit]:
    """Like `hits`, among the ranked segments. A file's moments are among them, too."""
    best = _best_of_groups(entries, ranked.scores, offset + top)[offset:]
    whole = (place for one in best for place in entries.of_group(entries.rows[one].group))
    missing = dict.fromkeys(whole, -np.inf)
    scores, similarity = missing | ranked.scores, missing | ranked.similarity
    return [_hit(entries, place, scores, similarity, ranked.span, None, ranked.usual, weak) for place in best]


def _best_of_groups(entries: Entries, places: Iterable[int], count: int, without: str | None = None) -> list[int]:
    """The first position of each of the first `count` groups."""
    found: dict[str, int] = {}
    for place in places:
        group = entries.rows[place].group
        if group != without and group not in found:
            found[group] = place
            if len(found) >= count:
                break
    return list(found.values())


def _hit(
    entries: Entries,
    place: int,
    scores: Scores,
    similarity: Scores,
    span: Span,
    admitted: NDArray[np.bool_] | None,
    usual: tuple[float, float],
    weak: Weak,
) -> Hit:
    entry, score = entries.rows[place], float(scores[place])
    places = [p for p in entries.of_group(entry.group) if admitted is None or admitted[p]]
    moments = []
    for run in _runs(places, scores, similarity, entries.means):
        best = max(run, key=lambda p: scores[p])
        start, end, at = span(best)
        if len(run) > 1:
            start, end = entries.rows[run[0]].start, entries.rows[run[-1]].end
        moments.append(Moment(entries.rows[best].id, start, end, at, float(scores[best])))
    return Hit(
        entry.id,
        entry.file,
        score,
        (score - usual[0]) / usual[1],
        float(similarity[place]),
        moments,
        weak(place),
        entry.category,
        entry.task,
        entry.split,
        entry.duration,
        entry.playing,
        list(entry.also),
    )


def _runs(places: Sequence[int], scores: Scores, similarity: Scores, means: Floats | Stack) -> list[list[int]]:
    """The best stretches of a file. Each includes neighbours that look the same and match as well."""
    free, runs = set(range(len(places))), list[list[int]]()
    for best in sorted(range(len(places)), key=lambda i: -scores[places[i]]):
        if len(runs) == MOMENTS or scores[places[best]] == -np.inf:  # not ranked
            break
        if best not in free:
            continue
        first = last = best

        def goes_on(i: int, to: int) -> bool:
            if i not in free or abs(similarity[places[i]] - similarity[places[best]]) > SAME_SCORE:  # noqa: B023
                return False
            return bool(means[places[i]] @ means[places[to]] >= SAME_SIGHT)

        while goes_on(first - 1, first):
            first -= 1
        while goes_on(last + 1, last):
            last += 1
        free -= set(range(first, last + 1))
        runs.append([places[i] for i in range(first, last + 1)])
    return runs
