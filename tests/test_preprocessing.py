"""A CLIP folder's preprocessing is done as in transformers, or refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from structalign.errors import UserError
from structalign.model.backbone import pixel_statistics
from structalign.model.views import normalised_view
from structalign.preprocessing import read_statistics

SIZE = 32
PLAIN: dict[str, Any] = {
    "do_resize": True,
    "size": {"shortest_edge": SIZE},
    "resample": 3,
    "do_center_crop": True,
    "crop_size": {"height": SIZE, "width": SIZE},
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.48, 0.45, 0.41],
    "image_std": [0.27, 0.26, 0.28],
}


def folder_of(folder: Path, values: Any, name: str = "preprocessor_config.json") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"vision_config": {"image_size": SIZE}}), encoding="utf-8")
    (folder / name).write_text(json.dumps(values), encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"do_normalize": False},
        {"do_rescale": False},
        {"rescale_factor": 1 / 127.5},
        {"size": SIZE, "crop_size": SIZE},
        {"do_rescale": False, "do_normalize": False},
    ],
)
@pytest.mark.parametrize("shape", [(48, 80), (80, 48), (31, 52), (40, 40)])
def test_pixels_are_those_of_transformers(change: dict[str, Any], shape: tuple[int, int], tmp_path: Path) -> None:
    values = PLAIN | change
    waves = np.sin(np.arange(shape[0])[:, None] / 5) * np.cos(np.arange(shape[1])[None] / 7)
    frame = np.repeat((waves * 100 + 128).astype(np.uint8)[..., None], 3, axis=2)
    theirs = CLIPImageProcessorPil(**values)(frame, return_tensors="pt")["pixel_values"][0]
    mean, std = pixel_statistics(folder_of(tmp_path, values))
    ours = normalised_view(frame[None], SIZE, (mean, std))[0]
    steps = (ours - theirs).abs() * std * 255  # of 255: two resizers differ by this much
    assert steps.max() < 3


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"do_center_crop": False}, "do_center_crop"),
        ({"do_resize": False}, "do_resize"),
        ({"size": {"height": SIZE, "width": SIZE}}, "size"),
        ({"size": {"shortest_edge": 40}}, "size"),
        ({"size": 40}, "size"),
        ({"size": {"longest_edge": SIZE}}, "size"),
        ({"crop_size": 40}, "crop_size"),
        ({"crop_size": {"height": SIZE, "width": 24}}, "crop_size"),
        ({"resample": 2}, "resample"),
        ({"do_pad": True}, "do_pad"),
        ({"do_center_crop": "false"}, "do_center_crop"),
        ({"do_resize": None}, "do_resize"),
        ({"do_normalize": "false"}, "do_normalize"),
        ({"do_rescale": None}, "do_rescale"),
        ({"do_thumbnail": True}, "do_thumbnail"),
        ({"do_crop_margin": 1}, "do_crop_margin"),
        ({"default_to_square": True, "size": SIZE}, "default_to_square"),
        ({"image_processor_type": "ViTImageProcessor"}, "image_processor_type"),
        ({"image_processor_type": 3}, "image_processor_type"),
        ({"size": None}, "size"),
        ({"crop_size": [SIZE] * 3000}, "crop_size"),
        ({"image_std": [0.5, 0.5, float("nan")]}, "image_std"),
        ({"rescale_factor": 0}, "rescale_factor"),
        ({"rescale_factor": "1/255"}, "rescale_factor"),
        ({"rescale_factor": 10**400}, "rescale_factor"),
        ({"rescale_factor": 1e-320}, "rescale_factor"),
        ({"image_mean": [0, 0, 10**400]}, "image_mean"),
        ({"image_mean": ["0.5"] * 2000}, "image_mean"),
        ({"image_mean": [0.5, 0.5]}, "image_mean"),
        ({"image_mean": None}, "image_mean"),
        ({"image_std": [0.5, 0.5, "x"]}, "image_std"),
        ({"image_std": [0.5, 0, 0.5]}, "image_std"),
    ],
)
def test_an_unsupported_setting_is_refused_by_its_key(change: dict[str, Any], key: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"preprocessor_config\.json: `{key}` = ") as refusal:
        read_statistics(folder_of(tmp_path, PLAIN | change))
    assert len(str(refusal.value)) < 500


@pytest.mark.parametrize("change", [{"do_pad": None}, {"do_convert_rgb": False}, {"image_processor_type": "CLIPImage"}])
def test_a_setting_that_changes_no_pixel_is_accepted(change: dict[str, Any], tmp_path: Path) -> None:
    assert read_statistics(folder_of(tmp_path, PLAIN | change)) == ((0.48, 0.45, 0.41), (0.27, 0.26, 0.28))


@pytest.mark.parametrize(
    "vision",
    [[1], "x", {"image_size": "32"}, {"image_size": -1}, {"image_size": True}, {"image_size": 0}, {"image_size": [32]}],
)
def test_an_image_size_that_is_no_number_of_pixels_is_refused(vision: Any, tmp_path: Path) -> None:
    folder_of(tmp_path, PLAIN)
    (tmp_path / "config.json").write_text(json.dumps({"vision_config": vision}))
    with pytest.raises(UserError, match=r"config\.json: `vision_config.* is not supported"):
        read_statistics(tmp_path)


def test_the_format_of_transformers_5_is_read(tmp_path: Path) -> None:
    nested = {"image_processor": PLAIN, "processor_class": "CLIPProcessor"}
    folder_of(tmp_path, nested, "processor_config.json")
    assert read_statistics(tmp_path) == ((0.48, 0.45, 0.41), (0.27, 0.26, 0.28))


def test_the_nested_processor_comes_first_as_in_transformers(tmp_path: Path) -> None:
    folder_of(tmp_path, PLAIN | {"image_mean": [0, 0, 0]})
    folder_of(tmp_path, {"image_processor": PLAIN}, "processor_config.json")
    assert read_statistics(tmp_path)[0] == (0.48, 0.45, 0.41)
    folder_of(tmp_path, {"processor_class": "CLIPProcessor"}, "processor_config.json")
    assert read_statistics(tmp_path)[0] == (0, 0, 0)


def test_a_folder_without_preprocessing_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match=r"has no preprocessor_config\.json"):
        read_statistics(tmp_path)


@pytest.mark.parametrize("values", [[], 3, None, "x"])
def test_a_file_of_another_form_is_refused(values: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="preprocessor_config"):
        read_statistics(folder_of(tmp_path, values))


def test_only_a_size_that_is_the_model_s_fits(tmp_path: Path) -> None:
    folder_of(tmp_path, PLAIN)
    (tmp_path / "config.json").write_text("{}")  # a model of 224 pixels
    with pytest.raises(UserError, match=r"`size` = .*224"):
        read_statistics(tmp_path)
    assert torch.equal(pixel_statistics(folder_of(tmp_path, PLAIN))[0].flatten(), torch.tensor([0.48, 0.45, 0.41]))
