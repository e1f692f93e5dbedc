"""Options of the initial model: head, vertices, fusion projections."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny import DIM, ETF_DIM, FRAMES, settings, tiny_clip, tiny_model, turned

from structalign.errors import UserError
from structalign.learning.etf import gaussian_vertices, simplex_etf
from structalign.learning.init_task import from_checkpoint, from_scratch
from structalign.learning.loading import load_method
from structalign.learning.memory import Memory
from structalign.learning.optimizer import optimizer
from structalign.learning.settings import Settings
from structalign.model.checkpoint import CheckpointConfig, save_checkpoint
from structalign.model.video_text import VideoText
from structalign.params.losses import Etf


def started(act: Settings) -> tuple[VideoText, Memory]:
    return from_scratch(tiny_clip(), load_method("structalign"), act, FRAMES)


def with_etf(**options: object) -> tuple[VideoText, Memory]:
    return started(turned(settings(1), Etf, **options))


def with_fusion(init: str) -> VideoText:
    act = settings(1)
    return started(replace(act, adapters=act.adapters.model_copy(update={"fusion_init": init})))[0]


def trained_heads(model: VideoText) -> list[str]:
    act = settings(1)
    optimizer(model, load_method("structalign").trains, 1, act.shared, act.phase)
    return [name for name, p in model.head.named_parameters() if p.requires_grad]


def test_the_vertices_are_a_simplex_or_gaussian() -> None:
    assert torch.equal(with_etf(vertices="exact")[1].vertices, simplex_etf(ETF_DIM, 6, 0))
    assert torch.equal(with_etf(vertices="gaussian")[1].vertices, gaussian_vertices(ETF_DIM, 6, 0))


def test_a_shared_head_is_one_trained_map() -> None:
    model, _ = with_etf(head="shared")
    assert trained_heads(model) == ["weight"]
    x = torch.ones(2, DIM)
    assert torch.equal(model.head.text(x), model.head.video(x))


def test_separate_heads_are_two_trained_maps_that_start_alike() -> None:
    model, _ = with_etf(head="separate")
    assert trained_heads(model) == ["weight", "video_weight"]
    assert model.head.video_weight is not None
    assert torch.equal(model.head.weight, model.head.video_weight)


def test_frozen_random_heads_are_two_maps_that_never_learn() -> None:
    model, _ = with_etf(head="frozen_random")
    assert trained_heads(model) == []
    x = torch.ones(2, DIM)
    assert not torch.allclose(model.head.text(x), model.head.video(x))


def test_a_fixed_head_never_learns() -> None:
    assert trained_heads(with_etf(head="fixed")[0]) == []


def test_a_fixed_head_of_the_backbone_s_dimension_is_the_identity() -> None:
    head, x = with_etf(head="fixed", dim=DIM)[0].head, torch.ones(2, DIM)
    assert torch.equal(head.text(x), x)
    assert torch.equal(head.video(x), x)


@pytest.mark.parametrize("dim", [DIM // 2, 2 * DIM])
def test_a_fixed_head_of_another_dimension_is_semi_orthogonal(dim: int) -> None:
    weight = with_etf(head="fixed", dim=dim, capacity=6)[0].head.weight
    product = weight @ weight.T if dim < DIM else weight.T @ weight
    torch.testing.assert_close(product, torch.eye(len(product)), atol=1e-5, rtol=0)


def test_a_task_after_a_checkpoint_without_memory_is_refused(tmp_path: Path) -> None:
    config = CheckpointConfig("tiny", "structalign_released", tasks=["t01"], model=tiny_model().config)
    save_checkpoint(tmp_path, config, tiny_model().adapter_state(), {})
    with pytest.raises(UserError, match="remembers no category and no vertex"):
        from_checkpoint(tiny_clip(), tmp_path, load_method("structalign"), settings(2), 2, FRAMES)


def test_fusion_starts_as_the_identity_or_uniformly() -> None:
    identity, uniform = (with_fusion(how).fusions()[0] for how in ("identity", "uniform"))
    width = len(identity.q_proj.weight)
    assert torch.equal(identity.q_proj.weight, torch.eye(width))
    assert 0.9 * width**-0.5 < float(uniform.q_proj.weight.detach().abs().max()) <= width**-0.5
    assert not torch.equal(uniform.q_proj.weight, uniform.k_proj.weight)
    assert float(uniform.q_proj.bias.detach().abs().max()) == 0


def test_two_layers_start_with_different_uniform_projections() -> None:
    first, second = with_fusion("uniform").fusions()
    assert not torch.equal(first.q_proj.weight, second.q_proj.weight)
