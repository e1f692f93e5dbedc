"""Read the image preprocessing of a CLIP folder, and refuse what the pipeline does not support.

Like CLIP, the pipeline resizes a frame to the model's short side, crops the centre and normalises. Mean, standard
deviation and scale are free. This module does not import torch, since `prepare` uses it.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from structalign.errors import UserError
from structalign.store import read_json
from structalign.text import shortened

ALONE, NESTED = "preprocessor_config.json", "processor_config.json"  # as transformers 4 and 5 write it
IMAGE_SIZE = 224  # CLIP's default, if config.json has none
SIZES = range(1, 4097)  # pixels
KIND = "image_processor_type"
FREE = ("do_normalize", "do_rescale", "do_convert_rgb")
BICUBIC = 3
BYTE = 1 / 255
LARGEST = 1e6  # of the numbers, in absolute value

Numbers = tuple[float, float, float]


def find_preprocessor(folder: Path) -> tuple[Path, dict[str, Any]] | None:
    """The file with a CLIP's image preprocessing, and its values. None if there is no such file.

    As in transformers, `image_processor` in processor_config.json takes precedence over preprocessor_config.json.
    """
    for name in (NESTED, ALONE):
        path = folder / name
        if not path.is_file():
            continue
        values = read_json(path)
        if name == NESTED and isinstance(values, dict):
            values = values.get("image_processor")
        if isinstance(values, dict):
            return path, values
    return None


def read_statistics(folder: Path) -> tuple[Numbers, Numbers]:
    """Mean and standard deviation for pixels in 0..1. Raises `UserError` for a preprocessing that is not CLIP's."""
    found = find_preprocessor(folder)
    if found is None:
        raise UserError(f"{folder} has no {ALONE} and no {NESTED} with `image_processor`: copy it from the model.")
    path, values = found
    config = read_json(folder / "config.json")
    for key, value in _wrong_sizes(config):
        value = shortened(json.dumps(value))
        raise UserError(f"{folder / 'config.json'}: `{key}` = {value} is not supported: choose another CLIP.")
    for key, must in _refused(values, image_size(config)):
        value = shortened(json.dumps(values[key]))
        raise UserError(f"{path}: `{key}` = {value} is not supported, it must be {must}: choose another CLIP.")
    mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    if values.get("do_normalize", True):
        mean, std = _three(values, "image_mean", path), _three(values, "image_std", path)
        if min(std) <= 0:
            raise UserError(f"{path}: `image_std` = {list(std)} must be above 0: copy the file from the model.")
    # if a model does not read x / 255, its statistics are for its own scale
    scale = float(values.get("rescale_factor", BYTE)) / BYTE if values.get("do_rescale", True) else 1 / BYTE
    if abs(scale - 1) < 1e-9:
        return mean, std
    return _divided(mean, scale), _divided(std, scale)


def _divided(numbers: Numbers, by: float) -> Numbers:
    red, green, blue = numbers
    return red / by, green / by, blue / by


def image_size(config: Any) -> int:
    """The side of the model's images in pixels, from its config.json."""
    vision = _vision(config)
    size = vision.get("image_size", IMAGE_SIZE) if isinstance(vision, dict) else IMAGE_SIZE
    return size if isinstance(size, int) else IMAGE_SIZE


def _vision(config: Any) -> Any:
    return (config.get("vision_config_dict") or config.get("vision_config")) if isinstance(config, dict) else None


def _wrong_sizes(config: Any) -> Iterator[tuple[str, Any]]:
    """(key, value) of a config.json whose image size is not a number of pixels."""
    vision = _vision(config)
    if vision is not None and not isinstance(vision, dict):
        yield "vision_config", vision
    elif vision and (not _is_number(size := vision.get("image_size", IMAGE_SIZE)) or size not in SIZES):
        yield "vision_config.image_size", size


def _refused(values: Mapping[str, Any], size: int) -> Iterator[tuple[str, str]]:
    """(key, required value) for each setting that differs from CLIP's preprocessing."""
    kind = values.get(KIND, "CLIP")  # other kinds have other defaults
    if not isinstance(kind, str) or not kind.startswith("CLIP"):
        yield KIND, "CLIPImageProcessor"
    for key in (key for key in values if key.startswith("do_")):
        if key in ("do_resize", "do_center_crop") and values[key] is not True:
            yield key, "true"
        elif key in FREE and not isinstance(values[key], bool):
            yield key, "true or false"
        elif key not in FREE and key not in ("do_resize", "do_center_crop") and values[key] not in (False, None):
            yield key, "false"
    if values.get("resample", BICUBIC) != BICUBIC:
        yield "resample", f"{BICUBIC} (bicubic)"
    if values.get("default_to_square"):
        yield "default_to_square", "false"
    if values.get("size", size) not in (size, {"shortest_edge": size}):
        yield "size", f'{{"shortest_edge": {size}}}, the size of the model\'s images'
    if values.get("crop_size", size) not in (size, {"height": size, "width": size}):
        yield "crop_size", f"{size}, the size of the model's images"
    factor = values.get("rescale_factor", BYTE)
    if not _is_number(factor) or factor < 1 / LARGEST:
        yield "rescale_factor", f"a number from {1 / LARGEST:g} to {LARGEST:g}"


def _three(values: Mapping[str, Any], key: str, path: Path) -> Numbers:
    numbers = values.get(key)
    if isinstance(numbers, list) and len(numbers) == 3 and all(_is_number(number) for number in numbers):
        red, green, blue = map(float, numbers)
        return red, green, blue
    value = shortened(json.dumps(numbers))
    raise UserError(f"{path}: `{key}` = {value} must be three numbers: copy the file from the model.")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST
