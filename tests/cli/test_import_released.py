"""`structalign import-released` and `export-released`, as a user calls them."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import ETF_DIM, FRAMES, shaken, tiny_clip
from torch import Tensor
from toy import write_clip
from typer.testing import CliRunner

import structalign
from structalign.cli.app import app
from structalign.data.tasks import split_categories, write_tasks
from structalign.errors import UserError
from structalign.model.checkpoint import build_model, read_config
from structalign.model.released_names import to_released
from structalign.model.video_text import ModelConfig, VideoText


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a CLIP and a released file of two tasks."""
    monkeypatch.chdir(tmp_path)
    write_clip(tmp_path / "clip")  # its tokenizer
    tiny_clip().model.save_pretrained(tmp_path / "clip")  # type: ignore[operator]
    save_file(released(), tmp_path / "released.safetensors")
    return tmp_path


def released() -> dict[str, Tensor]:
    model = VideoText(tiny_clip(), ModelConfig(FRAMES, 1, 2, 8.0, 3, 0.1, ETF_DIM, head="frozen_random"), 0)
    for task in range(2):
        model.add_task("tiny", task)
    return {name: x.contiguous() for name, x in to_released(shaken(model), {}).items()}


def call(*arguments: str) -> str:
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def bring_in(*more: str) -> str:
    options = ("--backbone", "clip", "--out", "checkpoints/t02", "--frames", str(FRAMES), "--vision-frozen", "1")
    return call("import-released", "released.safetensors", *options, "--alpha", "8", *more)


def test_an_imported_file_is_a_checkpoint(project: Path) -> None:
    assert "2 tasks, 3 experts of rank 2" in bring_in()
    folder = project / "checkpoints/t02"
    model = build_model(tiny_clip(), read_config(folder), folder)
    assert model is not None
    assert (model.config.words, model.config.head) == ("with_padding", "frozen_random")


@pytest.mark.parametrize("name", ["back.safetensors", "back.pth"])
def test_exporting_an_imported_file_gives_equal_bits(name: str, project: Path) -> None:
    bring_in()
    call("export-released", "checkpoints/t02", name)
    back = load_file(name) if name.endswith(".safetensors") else torch.load(name, weights_only=True)
    state = released()
    assert set(back) == set(state)
    assert all(torch.equal(back[key], tensor) for key, tensor in state.items())


def test_categories_come_from_the_task_list(project: Path) -> None:
    write_tasks(split_categories(["cats", "dogs", "birds"], 3))
    bring_in()
    config = read_config(project / "checkpoints/t02")
    assert (config.tasks, config.categories) == (["t01", "t02"], {"cats": 0, "dogs": 1})


def test_fewer_tasks_may_be_taken(project: Path) -> None:
    bring_in("--tasks", "1")
    assert read_config(project / "checkpoints/t02").tasks == ["t01"]


def test_more_tasks_than_prototypes_are_refused(project: Path) -> None:
    with pytest.raises(UserError, match="2 task prototypes: `--tasks` can't be 3"):
        bring_in("--tasks", "3")


def test_a_clip_that_cannot_be_found_is_called_as_it_was_named(project: Path) -> None:
    bring_in("--backbone", "./clip")
    (project / "clip").rename("moved")
    with pytest.raises(UserError, match=r"^--backbone \./gone: "):
        call("import-released", "released.safetensors", "--backbone", "./gone", "--out", "other")
    with pytest.raises(UserError, match=r"^--backbone \./gone: "):
        call("export-released", "checkpoints/t02", "back.pth", "--backbone", "./gone")
    with pytest.raises(UserError, match=r"^backbone = \./gone: "):
        structalign.load("checkpoints/t02", "./gone")
    of_the_checkpoint = r"^checkpoints/t02/config\.json: `backbone` = \./clip: "
    with pytest.raises(UserError, match=of_the_checkpoint + ".*`--backbone`"):
        call("export-released", "checkpoints/t02", "back.pth")
    with pytest.raises(UserError, match=of_the_checkpoint + ".*as `backbone`"):
        structalign.load("checkpoints/t02")
    structalign.load("checkpoints/t02", "moved")


def test_a_clip_whose_weights_do_not_load_has_nothing_to_do_with_params_yaml(project: Path) -> None:
    bring_in("--backbone", "./clip")
    (project / "clip/model.safetensors").write_bytes(b"cut")
    for attempt in (
        lambda: call("import-released", "released.safetensors", "--backbone", "./clip", "--out", "other"),
        lambda: call("export-released", "checkpoints/t02", "back.pth"),
        lambda: structalign.load("checkpoints/t02", "./clip"),
    ):
        with pytest.raises(UserError, match=r"^clip has no CLIP that can be loaded .*: name another CLIP"):
            attempt()


def test_zero_shot_clip_cannot_be_exported(project: Path) -> None:
    (project / "checkpoints/t00").mkdir(parents=True)
    (project / "checkpoints/t00/config.json").write_text('{"backbone": "clip", "shape": null}')
    with pytest.raises(UserError, match="it is zero-shot CLIP"):
        call("export-released", "checkpoints/t00", "file.pth")
