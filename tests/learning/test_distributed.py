"""Two processes that train a task together give the result of one, and only the first writes."""

import multiprocessing
import os
import shutil
import socket
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from tiny import CPU, begin_task, finish_task, settings
from torch import Tensor
from toy import Project, make_project

from structalign.evaluation.ranks import rank
from structalign.learning.distributed import (
    all_reduce_counts,
    any_process,
    broadcast,
    gather_shards,
    process_number,
    processes,
    sync_gradients,
)
from structalign.model import adapters, moe
from structalign.model.features import CENTRE
from structalign.model.text_encoding import encode_captions
from structalign.params.ranking import Ranking
from structalign.search.scoring import score
from structalign.search.signal import Comparison

pytestmark = pytest.mark.slow
CASES = {  # method, epochs, batch
    "structalign": ("structalign", 1, 12),
    "moe_adapter": ("moe_adapter", 1, 12),
    "thirds": ("structalign", 3, 5),
}


def no_noise(logits: Tensor, spread: Tensor, noise: Tensor) -> Tensor:
    return logits + 0 * spread


def train(folder: Path, case: str) -> None:
    """Train task 2 without dropout and router noise. Writes the last step's gradients, weights, and queries' ranks."""
    method, epochs, batch = CASES[case]
    act = settings(2, epochs=epochs, batch=batch)
    act = replace(act, adapters=act.adapters.model_copy(update={"dropout": 0.0}))
    own_columns = folder / f"{case}{process_number()}"
    shutil.copytree(folder / method, own_columns)
    trainer = begin_task(own_columns, method, 2, act)
    for part in trainer.model.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.0
    rows: list[Any] = []
    trainer.fit(rows.append)
    learning = {name: p for name, p in trainer.model.named_parameters() if p.requires_grad}
    found = {f"gradient {name}": p.grad for name, p in learning.items() if p.grad is not None}
    found |= {f"weight {name}": p.detach() for name, p in learning.items()}
    found |= {f"count {name}": x.double() for name, x in trainer.model.counters().items()}
    found["losses"] = torch.tensor([row["loss"] for row in rows], dtype=torch.float64)
    text = encode_captions(trainer.model, trainer.captions.tokens, 2, CPU)
    similarities = score(Comparison(text, text, trainer.encode_videos(CENTRE)), {})
    scores = {f"method.{name}": x.numpy() for name, x in similarities.items()}
    ground_truth, video_tasks = trainer.captions.video.numpy().astype(np.int64), ["t02"] * len(trainer.features)
    ranks = rank([scores], ground_truth, video_tasks, Ranking(beta=0.5, task_prior=0))
    found |= {f"ranks {name}": torch.from_numpy(ranks[name]) for name in ("method_text", "method_video")}
    save_file(found, own_columns / "found.safetensors")


def process(number: int, count: int, port: int, target: Any, arguments: Sequence[Any]) -> None:
    os.environ |= {"RANK": str(number), "WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    with processes() as first:
        assert first == (number == 0)
        target(*arguments)


def load_batch(count: int, target: Any, *arguments: Any) -> None:
    """Run `target` in one process group of `count` processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    spawn = multiprocessing.get_context("spawn")
    running = [spawn.Process(target=process, args=(n, count, port, target, arguments)) for n in range(count)]
    for one in running:
        one.start()
    for one in running:
        one.join(300)
    assert [one.exitcode for one in running] == [0] * count


def every_case(folder: Path) -> None:
    setattr(adapters, "noisy", no_noise)  # noqa: B010 - for mypy, to which a module's names are constant
    setattr(moe, "noisy", no_noise)  # noqa: B010
    for case in CASES:
        train(folder, case)


@pytest.fixture(scope="module")
def ends(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Tensor]]]:
    """For each case, the result of one process and of each of two, after the same first task."""
    folder = tmp_path_factory.mktemp("ends")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(adapters, "noisy", no_noise)
        patch.setattr(moe, "noisy", no_noise)
        for method in {method for method, _, _ in CASES.values()}:
            finish_task(folder / "alone" / method, begin_task(folder / "alone" / method, method, 1))
        shutil.copytree(folder / "alone", folder / "both")
        for case in CASES:
            train(folder / "alone", case)
    load_batch(2, every_case, folder / "both")
    places = [folder / "alone/{}0", folder / "both/{}0", folder / "both/{}1"]
    return {case: [load_file(str(place / "found.safetensors").format(case)) for place in places] for case in CASES}


Ends = dict[str, list[dict[str, Tensor]]]


@pytest.mark.parametrize("case", ["structalign", "moe_adapter"])
def test_two_processes_give_one_gradient(case: str, ends: Ends) -> None:
    expected, first, _ = ends[case]
    assert expected.keys() == first.keys()
    gradients = [name for name in expected if name.startswith("gradient")]
    for name in gradients:
        torch.testing.assert_close(first[name], expected[name], rtol=0, atol=1e-6, msg=name)
    assert max(float(expected[name].abs().max()) for name in gradients) > 1e-3


@pytest.mark.parametrize("case", CASES)
def test_two_processes_rank_as_one(case: str, ends: Ends) -> None:
    expected, first, _ = ends[case]
    torch.testing.assert_close(first["losses"], expected["losses"], rtol=1e-4, atol=1e-4)
    ranks = [name for name in expected if name.startswith("ranks")]
    assert [first[name].tolist() for name in ranks] == [expected[name].tolist() for name in ranks]


@pytest.mark.parametrize("case", CASES)
def test_both_processes_hold_the_same_weights(case: str, ends: Ends) -> None:
    _, first, second = ends[case]
    assert not [name for name in first if not torch.equal(first[name], second[name])]


def test_experts_are_counted_over_all_processes(ends: Ends) -> None:
    expected, first, _ = ends["moe_adapter"]
    counts = [name for name in expected if name.startswith("count")]
    assert counts
    assert not [name for name in counts if not torch.equal(first[name], expected[name])]


def gather() -> None:
    weight = torch.nn.Parameter(torch.tensor([2.0]))
    states = torch.arange(3.0)[:, None]
    (rows,) = gather_shards(3, lambda part: [states[part] * weight])
    assert rows.flatten().tolist() == [0, 2, 4]
    (rows[:, 0] * torch.tensor([1.0, 10.0, 100.0])).sum().backward()  # type: ignore[no-untyped-call]
    sync_gradients([weight])
    assert weight.grad is not None
    assert weight.grad.item() == 210
    flags = torch.tensor([process_number() == 0, process_number() == 1, False])
    assert any_process(flags).tolist() == [True, True, False]
    count = torch.tensor([5])
    with all_reduce_counts([count]):
        count += 1 + process_number()
    assert count.item() == 8
    assert broadcast(process_number()) == 0
    (one,) = gather_shards(1, lambda part: [states[part]])  # more processes than rows
    assert one.flatten().tolist() == [0]


def test_every_process_gets_all_rows_of_a_gather() -> None:
    load_batch(2, gather)


def test_a_gather_in_one_process_returns_its_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dist, "all_gather", None)
    states = torch.arange(3.0)
    (rows,) = gather_shards(3, lambda part: [states[part]])
    assert rows.tolist() == [0, 1, 2]
    flags = torch.tensor([True, False])
    assert torch.equal(any_process(flags), flags)


def test_torchrun_writes_one_checkpoint_and_one_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = Project(tmp_path)
    make_project(project, 1)
    for stage in ("check", "prepare", "frames", "features"):
        project.run("python", "-m", f"stages.{stage}", *(["t01"] if stage in ("frames", "features") else []))
    project.run("python", "-m", "stages.train", "t01")
    alone = (tmp_path / "work/logs/t01.jsonl").read_text()
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = project.run(*launch, "-m", "stages.train", "t01")
    assert (tmp_path / "work/logs/t01.jsonl").read_text().count("\n") == alone.count("\n")
    assert (tmp_path / "checkpoints/t01/adapters.safetensors").exists()
    assert not list((tmp_path / ".scratch").glob("train-*")), done.stderr
