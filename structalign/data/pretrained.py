"""The files of zero-shot CLIP, from a local folder or the Hugging Face hub, copied once for all later stages."""

import os
import re
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from structalign.data.captions import CaptionRow
from structalign.errors import UserError
from structalign.gathered import write_hashes
from structalign.params.section import shown
from structalign.paths import BACKBONE
from structalign.preprocessing import find_preprocessor, image_size, read_statistics
from structalign.store import read_json, reading, whole_folder

SAMPLE = "structalign_sample"  # key in config.json of the sample's CLIP, with all words of its captions
PATIENCE = 5  # seconds to wait for a configuration that is optional
SMALL = ("*.json", "*.txt", "*.model")  # configuration and tokenizer
REAL = "openai/clip-vit-base-patch32"
ON_THE_HUB = f", or a model on the hub, for example {REAL}"
NAME_ONE = f"name a CLIP's folder{ON_THE_HUB}"
WEIGHTS = (("model", ".safetensors"), ("pytorch_model", ".bin"))  # the first kind that exists is used


def of_params(name: str) -> str:
    """What a message calls the CLIP that params.yaml names."""
    return f"backbone.name = {shown(name)}"


def of_option(name: str) -> str:
    """What a message calls the CLIP that `--backbone` names."""
    return f"--backbone {shown(name)}"


def of_checkpoint(folder: Path, name: str) -> str:
    """What a message calls the CLIP that a checkpoint names."""
    return f"{folder / 'config.json'}: `backbone` = {shown(name)}"


def resolve(name: str, called: str | None = None, way: str = NAME_ONE) -> Path:
    """The folder of the CLIP called `name`: a local folder, or the hub's snapshot.

    called: what a message calls the CLIP, which tells who named it. None: `of_params`. way: what a message tells the
    user to do. Raises `UserError` if there is none.
    """
    called = called or of_params(name)
    source = local(name, called, way) or _download(name, called, way)
    lacking = list(_lacking(source))
    if lacking:
        raise UserError(f"{called} lacks {', '.join(lacking)}: complete its folder, or {way}.")
    read_statistics(source)  # refuses a preprocessing that later stages do not support
    return source


def _lacking(folder: Path) -> Iterator[str]:
    """The parts that later stages need and a CLIP's folder lacks."""
    names = {path.name for path in folder.iterdir() if path.is_file()}
    config = read_json(folder / "config.json") if "config.json" in names else None
    if not isinstance(config, dict) or config.get("model_type") != "clip":
        yield "a config.json with model_type clip"
    weights = _weights(names)
    if not weights:
        yield "weights (model.safetensors or pytorch_model.bin)"
    yield from sorted(set(weights) - names)
    if "tokenizer.json" not in names and not {"vocab.json", "merges.txt"} <= names:
        yield "tokenizer.json"
    if find_preprocessor(folder) is None:
        yield "preprocessor_config.json"


def gather(name: str, destination: Path = BACKBONE) -> None:
    """Copy the files of the CLIP called `name` that later stages need to `destination`, all or none."""
    source = resolve(name)
    names = [path.name for path in sorted(source.iterdir()) if path.is_file()]
    wanted = _wanted(names)
    _refuse_too_little_disk(sum((source / file).stat().st_size for file in wanted), destination, of_params(name))
    with whole_folder(destination) as part:
        for file in wanted:
            shutil.copyfile(source / file, part / file)
        write_hashes(part)


def _wanted(names: list[str]) -> list[str]:
    """The file names of configuration, tokenizer and weights."""
    return [name for name in names if any(Path(name).match(pattern) for pattern in SMALL)] + _weights(set(names))


def local(name: str, called: str | None = None, way: str = NAME_ONE) -> Path | None:
    """The local folder that `name` means, or None if it is a model on the hub. called, way: as of `resolve`."""
    folder = Path(name).expanduser()
    if os.path.isdir(folder):  # of a name that is too long, too  # noqa: PTH112
        return folder
    if name.startswith("data/") and called in (None, of_params(name)):
        raise UserError(
            f"{of_params(name)}: no such folder: run `dvc pull data` for the sample's CLIP. For your own "
            f"videos, choose a real CLIP with `structalign init DIR --backbone {REAL}`."
        )
    if folder.is_absolute() or name.startswith((".", "~", "data/")) or name.count("/") > 1:
        raise UserError(f"{called or of_params(name)}: no such folder: {way}.")
    return None


def refuse_sample_clip(name: str, rows: list[CaptionRow], called: str | None = None) -> None:
    """Raise a `UserError` if `name` is the sample's CLIP and a caption has a word that the sample's captions don't use.

    Words are compared, since a user's category may have the same name as the sample's. Both corpora that sample/ makes
    pass, and any part of them. called: as of `resolve`.
    """
    folder = local(name, called)
    words = vocabulary(folder) if folder is not None else None
    if words is None:
        return
    for row in rows:
        strange = [word for word in row.caption.lower().split() if word not in words]
        if strange:
            raise UserError(
                f"{called or of_params(name)} is the sample's tiny CLIP, which only knows the sample's words, but "
                f"captions.csv has `{strange[0]}` (row {row.number}): "
                f"choose a real CLIP with `structalign init DIR --tasks N --backbone {REAL}`, "
                "or set backbone.name in params.yaml if tasks.yaml is ready."
            )


def vocabulary(folder: Path) -> frozenset[str] | None:
    """All words that the sample's CLIP in `folder` knows. None for another CLIP, whose words are unknown."""
    path = folder / "config.json"
    if not path.is_file():
        return None
    with reading(path):
        known = read_json(path).get(SAMPLE)
        return None if known is None else frozenset(map(str, known))


def unknown_words(folder: Path, sentence: str) -> list[str]:
    """The words of a sentence that the sample's CLIP in `folder` does not know. Empty for another CLIP."""
    words = vocabulary(folder)
    said = re.findall(r"\w+(?:['-]\w+)*", sentence.lower())
    return [word for word in dict.fromkeys(said) if words is not None and word not in words]


def picture_side(name: str, fetch: bool = False) -> int | None:
    """The image size in pixels of the CLIP called `name`. None if its configuration is not available.

    fetch: download the configuration from the hub if needed, a few kilobytes.
    """
    folder = local(name)
    if folder is None:
        config = _hub_config(name, fetch)
    else:
        config = read_json(path) if (path := folder / "config.json").is_file() else None
    return None if config is None else image_size(config)


def too_small(size: int, name: str) -> str | None:
    """The problem if frames of `size` pixels are too small for the CLIP called `name`. None if not, or if unknown."""
    side = picture_side(name)
    if side is None or size >= side:
        return None
    return (
        f"frames.size = {size} is smaller than the images of {side} pixels that {name} reads: set `frames.size: {side}`"
    )


def _hub_config(name: str, fetch: bool) -> Any:
    """The config.json of a model on the hub, from the local cache or with `fetch` from the hub, or None."""
    import huggingface_hub as hub
    from huggingface_hub.utils._headers import build_hf_headers
    from huggingface_hub.utils._http import get_session

    try:
        found = hub.try_to_load_from_cache(name, "config.json")
        if isinstance(found, str):
            return read_json(Path(found))
        if not fetch:
            return None
        url, headers = hub.hf_hub_url(name, "config.json"), build_hf_headers()
        answer = get_session().get(url, headers=headers, timeout=PATIENCE, follow_redirects=True)
        return answer.raise_for_status().json()
    except Exception:  # the hub's client passes on many kinds of network errors
        return None


def _weights(names: Collection[str]) -> list[str]:
    """The weight files that transformers would load from a folder with `names`. A folder may have others.

    All parts of sharded weights are named, whether or not they exist.
    """
    for stem, ending in WEIGHTS:
        if f"{stem}{ending}" in names:
            return [f"{stem}{ending}"]
        part = re.compile(rf"{stem}-\d{{5}}-of-(\d{{5}}){re.escape(ending)}")
        counts = {found[1] for name in names if (found := part.fullmatch(name))}
        if f"{stem}{ending}.index.json" in names and len(counts) == 1:
            count = counts.pop()
            return [f"{stem}-{number:05d}-of-{count}{ending}" for number in range(1, int(count) + 1)]
    return []


def _download(name: str, called: str, way: str) -> Path:
    """The hub's snapshot in the hub's cache, which later runs use without a network."""
    import huggingface_hub as hub
    from huggingface_hub import errors

    try:
        files: dict[str, int] = {
            file.rfilename: file.size or 0 for file in hub.HfApi().model_info(name, files_metadata=True).siblings or []
        }
    except (errors.RepositoryNotFoundError, errors.HFValidationError):
        raise UserError(
            f"{called} is neither a folder here nor a public model on the hub: {way}, or run `hf auth login` for a "
            "private model."
        ) from None
    except Exception as error:  # the hub's client passes on many kinds of network errors
        return _cached(name, called, way, error)
    wanted = [file for file in files if "/" not in file and any(Path(file).match(pattern) for pattern in SMALL)]
    wanted += _weights({file for file in files if "/" not in file})
    _refuse_too_little_disk(sum(files.get(file, 0) for file in wanted), Path(hub.constants.HF_HUB_CACHE), called)
    try:
        return Path(hub.snapshot_download(name, allow_patterns=wanted))
    except Exception as error:
        raise UserError(f"{called}: the download was interrupted ({_line(error)}): run again.") from None


def _cached(name: str, called: str, way: str, error: Exception) -> Path:
    import huggingface_hub as hub

    try:
        return Path(hub.snapshot_download(name, local_files_only=True))
    except Exception:
        raise UserError(
            f"{called}: the hub can't be reached ({_line(error)}) and there is no local copy: connect to the network "
            f"once, or {way.removesuffix(ON_THE_HUB)}."
        ) from None


def _line(error: Any) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 120 else f"{text[:117]}..."


def _refuse_too_little_disk(size: int, destination: Path, called: str) -> None:
    place = next(folder for folder in (destination, *destination.absolute().parents) if folder.exists())
    free = shutil.disk_usage(place).free
    if size > free:
        raise UserError(f"{called} needs {size / 1e9:.1f} GB, but {place} has only {free / 1e9:.1f} GB: make space.")
