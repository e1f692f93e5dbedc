"""A ranking signal is a file and a weight."""

from codemap import ROOT

from structalign.params.ranking import SIGNALS, Ranking
from structalign.search.signal import signals


def test_every_signal_is_a_file_with_a_weight_and_every_weight_has_a_file() -> None:
    files = {file.stem for file in (ROOT / "structalign/search/signals").glob("[!_]*.py")}
    assert files == set(SIGNALS) == set(Ranking(beta=0.5, task_prior=0).weights()) == set(signals())
