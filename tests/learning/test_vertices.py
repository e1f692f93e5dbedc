"""Vertices that grow along zero-shot prototypes, task by task."""

from pathlib import Path

import torch
from tiny import ETF_DIM, begin_task, finish_task, settings, turned

from structalign.learning.etf import simplex_etf
from structalign.learning.trainer import Trainer
from structalign.learning.vertices import zero_shot_prototypes
from structalign.params.losses import Etf


def task(folder: Path, number: int, **options: object) -> Trainer:
    return begin_task(folder, "structalign", number, turned(settings(number), Etf, **options))


def test_a_random_simplex_does_not_follow_prototypes(tmp_path: Path) -> None:
    assert torch.equal(task(tmp_path, 1).vertices, simplex_etf(ETF_DIM, 6, 0))


def test_a_category_s_own_vertex_is_the_nearest_to_its_prototype(tmp_path: Path) -> None:
    trainer = task(tmp_path, 1, vertices="prototypes", head="fixed")
    near = trainer.model.head.text(zero_shot_prototypes(trainer)) @ trainer.vertices[:2].T
    assert near.argmax(dim=1).tolist() == [0, 1]


def test_the_next_task_keeps_the_vertices_and_adds_its_own(tmp_path: Path) -> None:
    first = task(tmp_path, 1, vertices="prototypes", head="fixed")
    finish_task(tmp_path, first)
    second = task(tmp_path, 2, vertices="prototypes", head="fixed")
    assert torch.equal(second.vertices[:2], first.vertices[:2])
    assert not torch.equal(second.vertices[2:4], first.vertices[2:4])
    cosine = second.vertices[:4] @ second.vertices[:4].T
    torch.testing.assert_close(cosine, torch.full((4, 4), -1 / 5).fill_diagonal_(1), atol=2e-6, rtol=0)


def test_a_checkpoint_keeps_the_vertices_it_was_trained_with(tmp_path: Path) -> None:
    trainer = task(tmp_path, 1, vertices="prototypes")
    assert torch.equal(trainer.remember(2).vertices, trainer.vertices)
