"""Where a file is cut, from synthetic frames."""

import torch

from structalign.library.segments import LONGEST, SHORTEST, cut

ONE, OTHER = (torch.tensor(row) for row in ([1.0, 0.0], [0.0, 1.0]))


def segments(frames: list[torch.Tensor]) -> list[tuple[float, float]]:
    """Start and end of segments, from one frame a second."""
    found = cut(torch.stack(frames), [float(second) for second in range(len(frames))], float(len(frames)))
    return [(segment.start, segment.end) for segment in found]


def test_a_file_is_cut_where_the_shot_changes() -> None:
    assert segments([ONE] * 5 + [OTHER] * 7) == [(0, 5), (5, 12)]


def test_a_still_shot_is_cut_at_the_longest_length() -> None:
    assert segments([ONE] * 50) == [(0, 20), (20, 40), (40, 50)]


def test_a_shot_of_one_second_belongs_to_the_previous_segment() -> None:
    assert segments([ONE] * 5 + [OTHER] + [ONE] * 5) == [(0, 6), (6, 11)]


def test_a_flicker_after_a_shot_begins_a_new_segment_of_bounded_length() -> None:
    found = segments([ONE] * 40 + [ONE, OTHER] * 60)
    assert all(SHORTEST <= end - start <= LONGEST + SHORTEST for start, end in found)
    assert any(start == 40 for start, _ in found)
