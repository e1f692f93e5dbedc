from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import ETF_DIM, FRAMES, fresh_memory, shaken, tiny_clip, tiny_model, tokens

from structalign.errors import UserError
from structalign.model.checkpoint import (
    CheckpointConfig,
    build_model,
    fingerprint,
    load_memory,
    read_config,
    save_checkpoint,
)
from structalign.model.video_text import VideoText
from structalign.store import read_json, write_json


@pytest.fixture
def model() -> VideoText:
    return shaken(tiny_model(tasks=2))


@pytest.fixture
def folder(tmp_path: Path, model: VideoText) -> Path:
    config = CheckpointConfig("tiny", "structalign", 0, ["t01", "t02"], {"cat": 0, "dog": 1}, model.config)
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


def test_a_saved_config_is_read_back_unchanged(folder: Path, model: VideoText) -> None:
    config = CheckpointConfig("tiny", "structalign", 0, ["t01", "t02"], {"cat": 0, "dog": 1}, model.config)
    assert read_config(folder) == config


def test_the_config_before_any_task_needs_no_more_than_its_backbone(tmp_path: Path) -> None:
    write_json(tmp_path / "config.json", {"format": 2, "backbone": "tiny"})  # as prepare writes it
    assert read_config(tmp_path) == CheckpointConfig("tiny")


# config.json of a1d4c6b, before it had a format number
FORMAT_1 = {
    "backbone": "tiny",
    "categories": {"cat": 0, "dog": 1},
    "comparison": "fused",
    "method": "structalign",
    "remembered_bytes": 7,
    "seed": 0,
    "shape": {
        "alpha": 8.0,
        "dropout": 0.0,
        "etf_dim": ETF_DIM,
        "experts": 3,
        "frames": FRAMES,
        "head": "shared",
        "parts": ["fusion", "lora"],
        "rank": 2,
        "reads": "states",
        "vision_frozen": 1,
        "words": "strict",
    },
    "tasks": ["t01", "t02"],
    "trained_parameters": 9,
}


@pytest.fixture
def folder_of_format_1(folder: Path) -> Path:
    write_json(folder / "config.json", FORMAT_1)
    captions = {"caption_mean": torch.ones(2, 4), "caption_count": torch.ones(2, dtype=torch.int64)}
    save_file(load_file(folder / "memory.safetensors") | captions, folder / "memory.safetensors")
    return folder


@torch.no_grad()
def test_a_checkpoint_of_format_1_encodes_with_equal_bits(folder_of_format_1: Path, model: VideoText) -> None:
    batch, two = tokens([5, 6, 7]), torch.tensor([2])
    assert torch.equal(load(folder_of_format_1).encode_text(batch, two).words, model.encode_text(batch, two).words)


def test_a_config_of_format_1_keeps_its_meaning(folder_of_format_1: Path, model: VideoText) -> None:
    config = CheckpointConfig("tiny", "structalign", 0, ["t01", "t02"], {"cat": 0, "dog": 1}, model.config)
    assert read_config(folder_of_format_1) == replace(config, trained_parameters=9, remembered_bytes=7)


def test_a_config_of_format_1_before_any_task_is_read(tmp_path: Path) -> None:
    write_json(tmp_path / "config.json", {"backbone": "tiny", "tasks": [], "method": None})
    assert read_config(tmp_path) == CheckpointConfig("tiny")


def test_captions_in_a_memory_of_format_1_are_ignored(folder_of_format_1: Path) -> None:
    memory = load_memory(folder_of_format_1)
    assert torch.equal(memory["vertices"], fresh_memory().vertices)
    assert not [name for name in memory if name.startswith("caption_")]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": 3}, ["has format 3", "update structalign"]),
        ({"format": "2"}, ["`format` = '2'", "dvc checkout"]),
        ({"format": True}, ["`format` = True"]),
        ({"format": 0}, ["`format` = 0"]),
        ({"format": None}, ["`format` = None"]),
        ({"format": 2, "comparison": "fused"}, ["`comparison`", "name a folder that `dvc repro` wrote"]),
        ({"format": 2, "model": {"rank": 2}}, ["`model.", "name a folder"]),
        ({"format": 2, "seed": "seven"}, ["`seed`", "name a folder"]),
        ({"format": 2, "tasks": 3}, ["`tasks`", "name a folder"]),
        ({"shape": {"parts": 3}}, ["name a folder"]),
        ({"format": 1, "shape": 3}, ["name a folder"]),
    ],
)
def test_a_config_that_is_not_understood_is_refused(tmp_path: Path, change: dict[str, Any], said: list[str]) -> None:
    write_json(tmp_path / "config.json", {"backbone": "tiny", **change})
    with pytest.raises(UserError, match=r"config\.json") as refusal:
        read_config(tmp_path)
    assert all(words in str(refusal.value) for words in said)


@pytest.mark.parametrize("values", [[], 3, None, "tiny"])
def test_a_config_without_fields_is_refused(tmp_path: Path, values: Any) -> None:
    write_json(tmp_path / "config.json", values)
    with pytest.raises(UserError, match=r"config\.json is not a checkpoint's config"):
        read_config(tmp_path)


def test_a_saved_memory_is_read_back_with_equal_bits(folder: Path) -> None:
    assert torch.equal(load_memory(folder)["vertices"], fresh_memory().vertices)


def test_a_checkpoint_holds_no_weight_of_the_backbone(folder: Path, model: VideoText) -> None:
    backbone = {id(p) for p in model.backbone_parameters()}
    names = {name for name, p in model.named_parameters() if id(p) in backbone}
    assert not names & set(load_file(folder / "adapters.safetensors"))


def without_hashes(folder: Path, **changes: Any) -> None:
    """Remove the hashes from a checkpoint, as in an older version, and change fields of its model."""
    values = read_json(folder / "config.json")
    del values["files"], values["sha256"]
    write_json(folder / "config.json", {**values, "model": {**values["model"], **changes}})


@pytest.mark.parametrize("change", ["missing", "extra", "shape"])
def test_adapters_that_do_not_fit_are_named(folder: Path, change: str) -> None:
    without_hashes(folder)
    state = load_file(folder / "adapters.safetensors")
    if change == "extra":
        state["tail.weight"] = torch.zeros(1)
    else:
        del state["head.weight"]
    if change == "shape":
        state["head.weight"] = torch.zeros(1)
    save_file(state, folder / "adapters.safetensors")
    with pytest.raises(UserError, match=r"tail.weight" if change == "extra" else "head.weight"):
        load(folder)


def load_all(folder: Path) -> None:
    load(folder)
    load_memory(folder)


@pytest.mark.parametrize("name", ["config.json", "adapters.safetensors", "memory.safetensors"])
@pytest.mark.parametrize("place", [0.0, 0.3, 0.6, 0.999])
def test_a_bit_that_flipped_is_noticed_wherever_it_is(folder: Path, name: str, place: float) -> None:
    content = bytearray((folder / name).read_bytes())
    content[int(place * len(content))] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(UserError, match=name.replace(".", r"\.")):
        load_all(folder)


@pytest.mark.parametrize("name", ["adapters.safetensors", "memory.safetensors"])
@pytest.mark.parametrize("content", [b"", b"abcd", b"\xff" * 64, b"version https://git-lfs"])
@pytest.mark.parametrize("hashed", [True, False])
def test_an_unreadable_file_is_named(folder: Path, name: str, content: bytes, hashed: bool) -> None:
    if not hashed:
        without_hashes(folder)
    (folder / name).write_bytes(content)
    with pytest.raises(UserError, match=f"{name} is damaged"):
        load_all(folder)


@pytest.mark.parametrize("name", ["adapters.safetensors", "memory.safetensors"])
@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_refused(folder: Path, name: str, number: float) -> None:
    without_hashes(folder)
    tensors = load_file(folder / name)
    key = next(key for key, tensor in tensors.items() if tensor.is_floating_point() and tensor.numel())
    tensors[key].view(-1)[-1] = number
    save_file(tensors, folder / name)
    with pytest.raises(UserError, match=f"{key} has values that are not finite"):
        load_all(folder)


@pytest.mark.parametrize(
    "change", [{"frames": 0}, {"rank": 10**9}, {"words": "loose"}, {"input_kind": "x"}, {"alpha": 1e300}]
)
def test_an_impossible_model_is_refused_by_its_field(folder: Path, change: dict[str, Any]) -> None:
    without_hashes(folder, **change)
    with pytest.raises(UserError, match=f"see `model.{next(iter(change))}`"):
        read_config(folder)


def test_a_damaged_checkpoint_is_reported_as_damaged_and_not_as_another_one(folder: Path) -> None:
    """`search` compares fingerprints first. If it said to run `dvc repro`, that would find nothing to do."""
    before = fingerprint(folder)
    content = bytearray((folder / "adapters.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "adapters.safetensors").write_bytes(content)
    with pytest.raises(UserError, match=r"adapters\.safetensors is damaged"):
        fingerprint(folder)
    without_hashes(folder)
    assert fingerprint(folder) != before


def test_a_missing_memory_is_noticed(folder: Path) -> None:
    (folder / "memory.safetensors").unlink()
    with pytest.raises(UserError, match=r"memory\.safetensors does not exist"):
        load_memory(folder)


def test_a_checkpoint_without_adapters_is_frozen_clip(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, CheckpointConfig("tiny"), {}, {})
    assert build_model(tiny_clip(), read_config(tmp_path), tmp_path) is None


def test_a_checkpoint_that_learned_nothing_remembers_nothing(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, CheckpointConfig("tiny"), {}, {})
    assert load_memory(tmp_path) == {}


def test_a_folder_that_is_no_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"config\.json"):
        read_config(tmp_path)


def test_the_card_names_every_category(folder: Path) -> None:
    assert "- cat\n- dog\n" in (folder / "README.md").read_text()
