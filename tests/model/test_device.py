import pytest
import torch

from structalign.errors import UserError
from structalign.model.device import prepare_device


@pytest.mark.parametrize("threads", ["abc", "-3", "0", "1.5"])
def test_a_number_of_threads_that_is_none_is_refused(threads: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRUCTALIGN_THREADS", threads)
    with pytest.raises(UserError, match=f"STRUCTALIGN_THREADS={threads} is no number of threads"):
        prepare_device()


def test_the_environment_sets_the_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRUCTALIGN_THREADS", "1")
    prepare_device()
    assert torch.get_num_threads() == 1


def test_a_device_that_is_not_here_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRUCTALIGN_DEVICE", "warp")
    with pytest.raises(UserError, match="STRUCTALIGN_DEVICE=warp cannot be used here"):
        prepare_device()
