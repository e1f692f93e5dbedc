"""Items of an interrupted stage are made once and stored whole. An incomplete file is made again."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from structalign.item_cache import load_or_make, load_whole

Item = dict[str, Tensor]
ITEM = {"states": torch.arange(6.0)}


def never() -> Item:
    raise AssertionError("it was there already")


def make(file: Path) -> Item:
    return load_or_make(file, lambda: ITEM, save_file, load_file)


def test_an_item_is_made_once(tmp_path: Path) -> None:
    make(tmp_path / "item")
    found = load_or_make(tmp_path / "item", never, save_file, load_file)
    assert torch.equal(found["states"], ITEM["states"])


def test_half_an_item_is_made_again(tmp_path: Path) -> None:
    file = tmp_path / "item"
    make(file)
    complete = file.read_bytes()
    for length in range(len(complete)):
        file.write_bytes(complete[:length])
        assert load_whole(file, load_file) is None, length
        make(file)
        assert file.read_bytes() == complete


def test_a_file_without_the_expected_keys_is_made_again(tmp_path: Path) -> None:
    save_file({"other": torch.zeros(1)}, tmp_path / "item")
    assert load_whole(tmp_path / "item", lambda file: load_file(file)["states"]) is None


def test_a_file_of_the_right_length_that_was_never_filled_is_made_again(tmp_path: Path) -> None:
    file = tmp_path / "item"
    make(file)
    file.write_bytes(bytes(file.stat().st_size))
    assert load_whole(file, load_file) is None


def test_an_interrupted_save_leaves_nothing(tmp_path: Path) -> None:
    def stop(item: Item, file: Path) -> None:
        save_file(item, file)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load_or_make(tmp_path / "item", lambda: ITEM, stop, load_file)
    assert not list(tmp_path.iterdir())


def test_an_error_while_making_an_item_is_raised_and_nothing_is_stored(tmp_path: Path) -> None:
    def fail() -> Item:
        raise ValueError("broken video")

    with pytest.raises(ValueError, match="broken video"):
        load_or_make(tmp_path / "item", fail, save_file, load_file)
    assert not list(tmp_path.iterdir())
