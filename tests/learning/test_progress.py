"""How often progress inside a task is saved."""

import pytest
import torch

from structalign.errors import UserError
from structalign.learning.resume import Progress


@pytest.mark.parametrize("seconds", ["x", "-1", "nan", "inf", "1 s"])
def test_a_wrong_time_between_saves_is_refused(seconds: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRUCTALIGN_SAVE_SECONDS", seconds)
    with pytest.raises(UserError, match=f"STRUCTALIGN_SAVE_SECONDS={seconds} "):
        Progress(None, torch.optim.SGD([torch.zeros(1, requires_grad=True)]), {})
