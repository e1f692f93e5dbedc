"""The rows of a sweep's tables: means, and paired differences to each baseline."""

import numpy as np
import pytest

from structalign.sweep.measures import MEASURES
from structalign.sweep.tables import Row, difference_table


def row(name: str, values: list[float]) -> Row:
    """A row whose R@1 is the first value, and the others in bootstrap draws."""
    run = {
        "measures": {name: dict.fromkeys(MEASURES) | {"R@1": values[0]}},
        "stored_bytes_per_video": 10,
        "trained_parameters": 20,
        "seconds": 30.0,
    }
    return Row(name, name, [run], {"R@1": np.array(values)})


def test_differences_are_paired_and_taken_to_each_baseline() -> None:
    ours, naive, fixed = row("ours", [5, 4, 6]), row("naive", [3, 2, 4]), row("fixed", [1, 1, 1])
    found = ours.cells([naive, fixed])
    names = ("R@1 to naive_difference", "R@1 to naive_difference_low", "R@1 to naive_difference_high")
    assert [found[name] for name in names] == [2, 2, 2]
    assert found["R@1 to fixed_difference"] == 4
    assert found["R@1 to fixed_difference_low"] == pytest.approx(3.05)
    assert not any("difference" in name for name in naive.cells([naive]))


def test_a_table_of_differences_leaves_out_its_baseline() -> None:
    ours, naive, fixed = row("ours", [5, 4, 6]), row("naive", [3, 2, 4]), row("fixed", [1, 1, 1])
    cells = [one.cells([naive, fixed]) for one in (ours, naive, fixed)]
    assert [line[0] for line in difference_table(cells, naive).rows] == ["ours", "fixed"]
    assert [line[1] for line in difference_table(cells, fixed).rows] == ["+4.0 [+3.0, +5.0]", "+2.0 [+1.1, +3.0]"]
