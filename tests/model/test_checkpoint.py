from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import fresh_memory, shaken, tiny_clip, tiny_model, tokens

from structalign.errors import UserError
from structalign.model.checkpoint import Config, build_model, load_memory, read_config, save_checkpoint
from structalign.model.video_text import VideoText
from structalign.store import write_json


@pytest.fixture
def model() -> VideoText:
    return shaken(tiny_model(tasks=2))


@pytest.fixture
def folder(tmp_path: Path, model: VideoText) -> Path:
    config = Config("tiny", "structalign", 0, ["t01", "t02"], {"cat": 0, "dog": 1}, asdict(model.shape))
    save_checkpoint(tmp_path, config, model.adapter_state(), fresh_memory().tensors())
    return tmp_path


def load(folder: Path) -> VideoText:
    model = build_model(tiny_clip(), read_config(folder), folder)
    assert model is not None
    return model


def test_a_loaded_model_has_equal_adapters(folder: Path, model: VideoText) -> None:
    loaded, saved = load(folder).adapter_state(), model.adapter_state()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in saved.items())


@torch.no_grad()
def test_a_loaded_model_encodes_with_equal_bits(folder: Path, model: VideoText) -> None:
    batch, two = tokens([5, 6, 7]), torch.tensor([2])
    assert torch.equal(load(folder).encode_text(batch, two).words, model.encode_text(batch, two).words)


def test_a_loaded_model_is_in_eval_mode(folder: Path) -> None:
    assert not any(module.training for module in load(folder).modules())


def test_a_config_comes_back_as_it_was(folder: Path, model: VideoText) -> None:
    config = Config("tiny", "structalign", 0, ["t01", "t02"], {"cat": 0, "dog": 1}, asdict(model.shape))
    assert read_config(folder) == config


def test_the_config_before_any_task_needs_no_more_than_its_backbone(tmp_path: Path) -> None:
    write_json(tmp_path / "config.json", {"backbone": "tiny", "tasks": [], "method": None})  # as prepare writes it
    assert read_config(tmp_path) == Config("tiny")


def test_memory_comes_back_with_equal_bits(folder: Path) -> None:
    assert torch.equal(load_memory(folder)["vertices"], fresh_memory().vertices)


def test_a_checkpoint_holds_no_weight_of_the_backbone(folder: Path, model: VideoText) -> None:
    backbone = {id(p) for p in model.backbone_parameters()}
    names = {name for name, p in model.named_parameters() if id(p) in backbone}
    assert not names & set(load_file(folder / "adapters.safetensors"))


@pytest.mark.parametrize("change", ["missing", "extra"])
def test_adapters_that_do_not_fit_are_named(folder: Path, change: str) -> None:
    state = load_file(folder / "adapters.safetensors")
    if change == "missing":
        del state["head.weight"]
    else:
        state["tail.weight"] = torch.zeros(1)
    save_file(state, folder / "adapters.safetensors")
    with pytest.raises(UserError, match="head.weight" if change == "missing" else "tail.weight"):
        load(folder)


def test_a_checkpoint_without_adapters_is_frozen_clip(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, Config("tiny"), {}, {})
    assert build_model(tiny_clip(), read_config(tmp_path), tmp_path) is None


def test_a_checkpoint_that_learned_nothing_remembers_nothing(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, Config("tiny"), {}, {})
    assert load_memory(tmp_path) == {}


def test_a_folder_that_is_no_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"config\.json"):
        read_config(tmp_path)


def test_the_card_names_every_category(folder: Path) -> None:
    assert "- cat\n- dog\n" in (folder / "README.md").read_text()
