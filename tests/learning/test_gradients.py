"""What losses ask of the embeddings: shares, angles, and weights by gradient."""

from pathlib import Path

import pytest
import torch
from tiny import begin_task, second_task_of, settings, turned

from structalign.learning.context import Batch
from structalign.learning.gradients import on_embeddings, shares_and_angles
from structalign.learning.trainer import Trainer
from structalign.params.losses import Crp, Etf


def a_batch(trainer: Trainer) -> Batch:
    trainer.start()
    return trainer.forward(next(trainer.method.batches(trainer.epoch(0), 3)), 0, trainer.number, 0)


@pytest.fixture
def batch(tmp_path: Path) -> Batch:
    return a_batch(second_task_of(tmp_path, "structalign"))


def test_shares_of_the_gradient_sum_to_one(batch: Batch) -> None:
    found = shares_and_angles(batch)
    shares = {name: float(value) for name, value in found.items() if name.startswith("share_")}
    assert {*shares} == {"share_contrastive", "share_crp", "share_etf", "share_pseudo"}
    assert sum(shares.values()) == pytest.approx(1, abs=1e-5)


def test_the_angle_of_a_loss_opposed_to_the_contrastive_one_is_180_degrees(batch: Batch) -> None:
    batch.addends["opposed"] = -2 * batch.addends["contrastive"]
    assert float(shares_and_angles(batch)["angle_opposed"]) == pytest.approx(180, abs=0.1)


def test_a_loss_alone_has_no_share(batch: Batch) -> None:
    batch.addends = {"contrastive": batch.addends["contrastive"]}
    assert shares_and_angles(batch) == {}


def test_the_gradient_is_that_of_all_embeddings(batch: Batch) -> None:
    gradient = on_embeddings(batch, batch.frames.sum() + 2 * batch.text.sentence.sum())
    sizes = [x.numel() for x in (batch.text.words, batch.text.sentence, batch.frames)]
    assert [set(part.tolist()) for part in torch.split(gradient, sizes)] == [{0}, {2}, {1}]


def test_measuring_changes_no_step(tmp_path: Path) -> None:
    def states(folder: str, *, measured: bool) -> list[torch.Tensor]:
        trainer = begin_task(tmp_path / folder, "structalign", 1, settings(1))
        optimizer = trainer.start()
        torch.manual_seed(0)  # of dropout
        trainer.take_step(optimizer, 1.0, next(trainer.method.batches(trainer.epoch(0), 3)), 0, 1, 0, measured=measured)
        return [p.detach().clone() for p in trainer.model.parameters()]

    assert all(map(torch.equal, states("a", measured=True), states("b", measured=False)))


def test_the_first_row_of_an_epoch_has_the_gradients(tmp_path: Path) -> None:
    rows: list[dict[str, float]] = []
    begin_task(tmp_path, "structalign", 1, settings(1, epochs=2)).fit(rows.append)
    starts = [i for i, row in enumerate(rows) if i == 0 or row["epoch"] != rows[i - 1]["epoch"]]
    assert [i for i, row in enumerate(rows) if "share_etf" in row] == starts
    assert len(starts) == 2


def test_relative_to_the_gradient_the_weighted_loss_has_the_given_share_of_the_base_s(tmp_path: Path) -> None:
    act = turned(settings(1), Etf, relative_to="gradient", weight=0.3)
    batch = a_batch(begin_task(tmp_path, "structalign", 1, act))
    etf, base = (on_embeddings(batch, batch.addends[name]).norm() for name in ("etf", "contrastive"))
    assert float(etf / base) == pytest.approx(0.3, rel=1e-4)


def test_with_both_teachers_the_loss_is_the_mean_of_theirs(tmp_path: Path) -> None:
    found = {}
    for kind in ("previous", "pretrained", "both"):
        trainer = second_task_of(tmp_path / kind, "structalign", turned(settings(2), Crp, teacher=kind))
        found[kind] = a_batch(trainer).unweighted["crp"].item()
    assert found["previous"] != pytest.approx(found["pretrained"], rel=1e-3)
    assert found["both"] == pytest.approx((found["previous"] + found["pretrained"]) / 2, rel=1e-5)
