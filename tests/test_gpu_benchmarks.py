"""The GPU benchmarks without a GPU: launches and waits on a stand-in, and a toy run."""

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import pytest
import torch
from tiny import CPU, IMAGE, NoiseFrames, write_features

from benchmarks import gpu, made, operations, published
from benchmarks.stand_in import DEVICE, StandIn
from structalign.model.device import Fetched, send
from structalign.model.features import CENTRE
from structalign.model.sources import PixelSource


def test_the_stand_in_computes_what_the_cpu_computes() -> None:
    weight, x = torch.nn.Parameter(torch.randn(3, 4)), torch.randn(5, 4)
    expected = torch.nn.functional.linear(x, weight).relu()
    expected.sum().backward()  # type: ignore[no-untyped-call]
    assert weight.grad is not None
    with StandIn():
        there = torch.nn.Parameter(weight.detach().to(DEVICE))
        found = torch.nn.functional.linear(x.to(DEVICE), there).relu()
        found.sum().backward()  # type: ignore[no-untyped-call]
        assert there.grad is not None
        assert torch.equal(found.detach().cpu(), expected)
        assert torch.equal(there.grad.cpu(), weight.grad)


@pytest.mark.parametrize(
    ("look", "wait"),
    [
        (lambda x: torch.ones(2).to(DEVICE), "copy in, not pinned"),
        (lambda x: x[torch.tensor([0, 1])], "copy in, not pinned"),
        (lambda x: x.cpu(), "copy out"),
        (lambda x: x[0].item(), "number read"),
        (lambda x: x.tolist(), "number read"),
        (lambda x: x[x > 0], "shape read"),
        (lambda x: x.nonzero(), "shape read"),
    ],
)
def test_the_stand_in_counts_what_a_gpu_would_wait_for(look: object, wait: str) -> None:
    with StandIn() as device:
        x = torch.ones(3).to(DEVICE)
        device.forget()
        look(x)  # type: ignore[operator]
        assert +device.waits == {wait: 1}


def test_sending_and_fetching_do_not_wait() -> None:
    with StandIn() as device, operations.as_a_gpu(device):
        x = send(torch.tensor([1.0, 2.0]), DEVICE)
        numbers = Fetched(x[:1] + x[1:])
        assert not +device.waits
        assert device.launches == {"copy": 2, "add": 1}
        assert numbers.tolist() == [3.0]


@pytest.mark.parametrize("size", [IMAGE, IMAGE + 4])
def test_the_bytes_of_a_batch_reach_the_device_in_one_copy(tmp_path: Path, size: int) -> None:
    """Crops and centre views, of frames whose short side is IMAGE + 4. A view has the bits of the CPU's."""
    features, shown = (
        write_features(tmp_path / "f", views=0),
        [(0, "view07"), (1, "view08"), (2, CENTRE), (0, "view09")],
    )
    statistics = torch.full((3, 1, 1), 0.5), torch.full((3, 1, 1), 0.25)
    expected = PixelSource(features, NoiseFrames(1), size, statistics, True, 3, CPU).batch(shown)
    with StandIn() as device, operations.as_a_gpu(device):
        there = PixelSource(features, NoiseFrames(1), size, statistics, True, 3, DEVICE)
        device.forget()
        found = there.batch(shown)
        assert not +device.waits
        assert device.launches["copy"] == 1 + len(shown)  # into the device, then each view into its place
        assert device.launches["div"] == 1
        assert torch.equal(found.cpu(), expected)


@pytest.mark.parametrize("task", [1, 2])
def test_a_step_never_waits_and_recorded_towers_are_one_launch_each(task: int) -> None:
    single, recorded = (operations.counted(published.TOY, task, how) for how in (False, True))
    assert single["waits"] == recorded["waits"] == 0
    assert recorded["launches_by_kind"]["graph"] == (4 if task == 1 else 5)  # both towers and back; the teacher's
    assert recorded["launches"] < single["launches"] / 2


def test_a_step_on_a_gpu_stacks_the_experts_of_all_layers_at_once() -> None:
    shape = published.TOY
    mixtures = 4 * shape.size.text[2]  # projections of each layer
    assert operations.counted(shape, 2)["launches_by_kind"]["stack"] < mixtures


def test_ranges_that_overlap_count_once() -> None:
    assert gpu.united(iter([(0.0, 2.0), (1.0, 3.0), (5.0, 6.0), (5.5, 5.75)])) == 4.0


def test_ten_tasks_are_two_and_eight_more_like_the_second() -> None:
    run = [{"train": 5.0, "queries": 1.0}, {"train": 7.0, "queries": 4.0}]
    assert gpu.extrapolated(run) == 5 + 9 * 7 + sum(t * t for t in range(1, 11))


def without(*modules: str) -> str:
    """A program in which these modules cannot be imported, and which runs the GPU benchmark."""
    return f"""
import runpy, sys
sys.modules |= dict.fromkeys({modules}, None)
runpy.run_module("benchmarks.gpu", run_name="__main__")
"""


def test_a_toy_run_on_the_cpu_stores_its_results_without_dvc_or_ffmpeg(tmp_path: Path) -> None:
    program = [sys.executable, "-c", without("dvc", "ffmpeg", "imageio_ffmpeg", "av"), "--toy", "--seconds", "0.1"]
    place = {**os.environ, "PATH": "", "PYTHONPATH": str(Path(gpu.__file__).parents[1])}
    done = subprocess.run(
        [*program, "--device", "cpu", "--json", "gpu.json"],
        cwd=tmp_path,
        env=place,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert found["goals"] == gpu.GOALS
    assert found["step_before"]["milliseconds"] > 0
    assert found["step_after"]["steps"] >= 1
    assert found["step_after"]["suffix_percent_of_matrix_rate"] > 0
    assert found["suffix_eager"]["percent_of_matrix_rate"] > 0
    assert found["two_tasks_steps"] == ["2 of 2", "2 of 2"]
    assert found["ten_tasks_extrapolated_seconds"] > sum(found["two_tasks"][1].values())
    assert 0 < found["command_seconds"] < gpu.LIMIT


def test_training_that_takes_too_long_is_stopped_and_extrapolated() -> None:
    shape, acts = published.TOY, published.settings(published.TOY, 1, "fp32", epochs=4)
    model, memory = made.model_for(published.random_clip(shape, CPU), shape.size, "structalign", acts, 1, shape.frames)
    # each look is a second, but the start with the first step takes 101: looks 2 and 3 begin the training
    parts, looks = gpu.Parts(CPU), itertools.chain(range(4), itertools.count(103))
    with patch("benchmarks.gpu.time", SimpleNamespace(perf_counter=lambda: float(next(looks)))):
        _, steps = gpu.learn(parts, shape, model, memory, 1, acts, end=105.0)
    assert steps == "3 of 8"
    assert parts.seconds["train"] == pytest.approx(101 + 7 * 1)
    assert parts.seconds["queries"] == 1
