"""The backbone's files, from a folder or from the hub, and one sentence for each failure."""

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub as hub
import pytest

from structalign.data.pretrained import gather, resolve
from structalign.errors import UserError
from structalign.gathered import HASHES, verify_gathered

NAME = "someone/clip"


CONFIG = ("config.json", "preprocessor_config.json", "tokenizer.json")


def model(folder: Path, *names: str) -> Path:
    """A folder of empty files, except a config.json of type `clip` and a preprocessor's numbers."""
    folder.mkdir(parents=True)
    holds = {
        "config.json": '{"model_type": "clip"}',
        "preprocessor_config.json": '{"image_mean": [0, 0, 0], "image_std": [1, 1, 1]}',
    }
    for name in names:
        (folder / name).write_text(holds.get(name, name))
    return folder


def serve(monkeypatch: pytest.MonkeyPatch, snapshot: Path, size: int = 1) -> list[str]:
    """Let the hub's client serve a folder. The returned list collects the requested patterns."""
    asked: list[str] = []

    def info(_: Any, name: str, files_metadata: bool) -> SimpleNamespace:
        files = [SimpleNamespace(rfilename=path.name, size=size) for path in sorted(snapshot.iterdir())]
        return SimpleNamespace(siblings=[*files, SimpleNamespace(rfilename="onnx/model.safetensors", size=size)])

    def download(name: str, allow_patterns: list[str]) -> str:
        asked.extend(allow_patterns)
        return str(snapshot)

    monkeypatch.setattr(hub.HfApi, "model_info", info)
    monkeypatch.setattr(hub, "snapshot_download", download)
    return asked


def test_only_configuration_tokenizer_and_one_kind_of_weights_are_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needless = ("pytorch_model.bin", "tf_model.h5", "README.md")
    asked = serve(monkeypatch, model(tmp_path / "snapshot", *CONFIG, "merges.txt", "model.safetensors", *needless))
    gather(NAME, tmp_path / "backbone")
    assert sorted(asked) == sorted([*CONFIG, "merges.txt", "model.safetensors"])
    assert sorted(path.name for path in (tmp_path / "backbone").iterdir()) == sorted([*asked, HASHES])


def test_older_weights_are_used_if_there_are_no_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = serve(monkeypatch, model(tmp_path / "snapshot", *CONFIG, "pytorch_model.bin"))
    resolve(NAME)
    assert asked == [*CONFIG, "pytorch_model.bin"]


def test_too_little_disk_is_reported_before_the_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = serve(monkeypatch, model(tmp_path / "snapshot", "config.json", "model.safetensors"), size=10**15)
    with pytest.raises(UserError, match=r"needs 2000000\.0 GB"):
        resolve(NAME)
    assert asked == []


def test_without_a_network_the_local_copy_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot = model(tmp_path / "snapshot", *CONFIG, "model.safetensors")
    monkeypatch.setattr(hub.HfApi, "model_info", failing(OSError("no route")))
    monkeypatch.setattr(hub, "snapshot_download", lambda name, local_files_only: str(snapshot))
    assert resolve(NAME) == snapshot


def test_without_a_network_and_a_copy_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub.HfApi, "model_info", failing(OSError("no route")))
    monkeypatch.setattr(hub, "snapshot_download", failing(OSError("not cached")))
    with pytest.raises(UserError, match=r"the hub can't be reached \(no route\) and there is no local copy"):
        resolve(NAME)


def test_a_name_that_the_hub_refuses_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="neither a folder here nor a public model on the hub"):
        resolve("two words")


@pytest.mark.parametrize("name", ["data/clip", "./clip", "/nowhere/clip", "a/b/c", "./" + "x" * 300])
def test_a_folder_that_is_not_there_is_not_looked_for_on_the_hub(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="no such folder"):
        resolve(name)


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("config.json", r"lacks a config\.json with model_type clip: complete its folder"),
        (
            "model.safetensors",
            r"lacks weights \(model\.safetensors or pytorch_model\.bin\): complete its folder",
        ),
        ("tokenizer.json", r"lacks tokenizer\.json: complete its folder"),
        ("preprocessor_config.json", r"lacks preprocessor_config\.json: complete its folder"),
    ],
)
def test_the_files_that_a_folder_lacks_are_named(file: str, said: str, tmp_path: Path) -> None:
    folder = model(tmp_path / "clip", *CONFIG, "model.safetensors")
    (folder / file).unlink()
    with pytest.raises(UserError, match=said):
        resolve(str(folder))


def test_a_model_that_is_not_a_clip_is_refused(tmp_path: Path) -> None:
    folder = model(tmp_path / "clip", *CONFIG, "model.safetensors")
    (folder / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(UserError, match=r"lacks a config\.json with model_type clip"):
        resolve(str(folder))


@pytest.mark.parametrize("foreign", ["open_clip_model.safetensors", "adapter_model.safetensors", "x.bin"])
def test_an_unrelated_file_does_not_hide_the_weights(foreign: str, tmp_path: Path) -> None:
    folder = model(tmp_path / "clip", *CONFIG, foreign)
    with pytest.raises(UserError, match="lacks weights"):
        resolve(str(folder))
    (folder / "pytorch_model.bin").touch()
    gather(str(folder), tmp_path / "backbone")
    assert (tmp_path / "backbone/pytorch_model.bin").exists()
    assert not (tmp_path / f"backbone/{foreign}").exists()


@pytest.mark.parametrize("stem", ["model-{}-of-00002.safetensors", "pytorch_model-{}-of-00002.bin"])
def test_all_shards_of_weights_are_copied_or_the_missing_one_is_named(stem: str, tmp_path: Path) -> None:
    first, second = stem.format("00001"), stem.format("00002")
    index = stem.replace("-{}-of-00002", "") + ".index.json"
    folder = model(tmp_path / "clip", *CONFIG, index, first, second)
    gather(str(folder), tmp_path / "backbone")
    assert {first, second, index} <= {path.name for path in (tmp_path / "backbone").iterdir()}
    (folder / second).unlink()
    with pytest.raises(UserError, match=f"lacks {second}"):
        resolve(str(folder))


def test_unsupported_preprocessing_is_refused_before_anything_is_copied(tmp_path: Path) -> None:
    folder = model(tmp_path / "clip", *CONFIG, "model.safetensors")
    (folder / "preprocessor_config.json").write_text('{"do_center_crop": false}')
    with pytest.raises(UserError, match="do_center_crop"):
        gather(str(folder), tmp_path / "backbone")
    assert not (tmp_path / "backbone").exists()


def test_a_copied_file_that_changed_is_named(tmp_path: Path) -> None:
    folder = model(tmp_path / "clip", *CONFIG, "model.safetensors")
    gather(str(folder), tmp_path / "backbone")
    verify_gathered(tmp_path / "backbone")
    verify_gathered(folder)  # which was not gathered: nothing is known of it
    for name in (*CONFIG, "model.safetensors"):
        content = (tmp_path / "backbone" / name).read_bytes()
        (tmp_path / "backbone" / name).write_bytes(content[:-1] + b"?")
        with pytest.raises(UserError, match=f"{name} is damaged"):
            verify_gathered(tmp_path / "backbone")
        (tmp_path / "backbone" / name).write_bytes(content)
    (tmp_path / "backbone/other.json").touch()
    with pytest.raises(UserError, match=r"gathered\.json is damaged \(it lacks other\.json\)"):
        verify_gathered(tmp_path / "backbone")
    (tmp_path / "backbone/other.json").unlink()
    (tmp_path / "backbone/tokenizer.json").unlink()
    with pytest.raises(UserError, match=r"tokenizer\.json does not exist"):
        verify_gathered(tmp_path / "backbone")


def test_an_older_tokenizer_of_two_files_is_accepted(tmp_path: Path) -> None:
    folder = model(tmp_path / "clip", *CONFIG, "model.safetensors", "vocab.json", "merges.txt")
    (folder / "tokenizer.json").unlink()
    assert resolve(str(folder)) == folder


def test_a_failed_copy_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = model(tmp_path / "clip", *CONFIG, "model.safetensors")
    monkeypatch.setattr(shutil, "copyfile", failing(OSError(28, "No space left on device")))
    with pytest.raises(UserError, match="No space left on device"):
        gather(str(source), tmp_path / "backbone")
    assert [path.name for path in tmp_path.iterdir()] == ["clip"]


def failing(error: Exception) -> Any:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    return fail
