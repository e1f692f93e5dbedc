"""The GPU benchmarks without a GPU: launches and waits on a stand-in, and a toy run."""

import json
from pathlib import Path

import pytest
import torch
from tiny import CPU, IMAGE, NoiseFrames, write_features
from typer.testing import CliRunner

from benchmarks import gpu, operations, published
from benchmarks.__main__ import app
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


def test_ranges_that_overlap_count_once() -> None:
    assert gpu.united(iter([(0.0, 2.0), (1.0, 3.0), (5.0, 6.0), (5.5, 5.75)])) == 4.0


def test_ten_tasks_are_two_and_eight_more_like_the_second() -> None:
    run = [{"train": 5.0, "queries": 1.0}, {"train": 7.0, "queries": 4.0}]
    assert gpu.extrapolated(run) == 5 + 9 * 7 + sum(t * t for t in range(1, 11))


def test_a_toy_run_on_the_cpu_stores_its_results(tmp_path: Path) -> None:
    done = CliRunner().invoke(
        app, ["gpu", "--device", "cpu", "--toy", "--seconds", "0.1", "--json", str(tmp_path / "gpu.json")]
    )
    assert done.exit_code == 0, done.output
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert found["goals"] == gpu.GOALS
    assert found["step_before"]["milliseconds"] > 0
    assert found["step_after"]["steps"] >= 1
    assert found["suffix_eager"]["percent_of_matrix_rate"] > 0
    assert found["ten_tasks_extrapolated_seconds"] > sum(found["two_tasks"][1].values())
