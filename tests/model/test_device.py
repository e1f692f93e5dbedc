import pytest
import torch

from structalign.errors import UserError
from structalign.model.device import Fetched, env_flag, matrix_products, prepare_device, send


@pytest.mark.parametrize("threads", ["abc", "-3", "0", "1.5", "99999", "9" * 5000, "٣", "1_0"])
def test_an_invalid_number_of_threads_is_refused(threads: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRUCTALIGN_THREADS", threads)
    with pytest.raises(UserError, match=rf"STRUCTALIGN_THREADS={threads[:80]}\S* is not a number of threads"):
        prepare_device()


def test_the_environment_sets_the_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRUCTALIGN_THREADS", "1")
    prepare_device()
    assert torch.get_num_threads() == 1


def test_an_unavailable_device_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRUCTALIGN_DEVICE", "warp")
    with pytest.raises(UserError, match="STRUCTALIGN_DEVICE=warp cannot be used here"):
        prepare_device()


@pytest.mark.parametrize(("value", "answer"), [("1", True), ("0", False), ("", False)])
def test_a_switch_of_the_environment_is_one_or_zero(value: str, answer: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRUCTALIGN_RECOMPUTE", value)
    assert env_flag("STRUCTALIGN_RECOMPUTE") is answer


def test_a_switch_with_another_value_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRUCTALIGN_RECOMPUTE", "yes")
    with pytest.raises(UserError, match="STRUCTALIGN_RECOMPUTE=yes must be 0 or 1"):
        env_flag("STRUCTALIGN_RECOMPUTE")


def test_a_switch_that_is_not_set_is_its_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STRUCTALIGN_GRAPHS", raising=False)
    assert env_flag("STRUCTALIGN_GRAPHS", default=True)
    monkeypatch.setenv("STRUCTALIGN_GRAPHS", "0")
    assert not env_flag("STRUCTALIGN_GRAPHS", default=True)


@pytest.mark.parametrize(("precision", "allowed"), [("tf32", True), ("bf16", False), ("fp32", False)])
def test_products_are_rounded_to_tf32_if_the_precision_is_tf32(precision: str, allowed: bool) -> None:
    with matrix_products("tf32"), matrix_products(precision):
        assert torch.backends.cuda.matmul.allow_tf32 is allowed
        assert torch.backends.cudnn.allow_tf32 is allowed
    assert not torch.backends.cuda.matmul.allow_tf32
    assert not torch.backends.cudnn.allow_tf32


def test_sending_and_fetching_a_tensor_does_not_change_it() -> None:
    numbers = torch.tensor([[1.5, -2.0], [0.0, 7.25]])
    assert torch.equal(send(numbers, torch.device("cpu")), numbers)
    assert Fetched(numbers).tolist() == numbers.tolist()
