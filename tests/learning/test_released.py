"""The released method against slow loops of its formulas (`oracle`), in float64, for task 1 and a later task."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import oracle
import pytest
import torch
from codemap import ROOT
from released_case import (
    CAPTIONS,
    CATEGORIES,
    CONFIG,
    DECAY,
    EXPERTS,
    LIKE,
    PAIRS,
    PLAN,
    RATES,
    UPDATES,
    act,
    close,
    doubled,
    exact,
    given,
    released_model,
    state_of,
    steps_of,
)
from tiny import (
    CPU,
    DIM,
    ETF_DIM,
    FRAMES,
    IMAGE,
    WIDTH,
    noise,
    tokens,
    write_features,
)
from torch import Tensor

from structalign.errors import UserError
from structalign.learning.batches import Pairs
from structalign.learning.etf import gaussian_vertices
from structalign.learning.loading import load_method
from structalign.learning.memory import empty_memory
from structalign.learning.methods import structalign_released as released
from structalign.learning.reference.settings import TaskSettings
from structalign.learning.reference.towers import ReferenceModel, frame_embeddings, text_embeddings
from structalign.learning.reference.training import Trained, Training, train
from structalign.learning.resume import LogRow
from structalign.learning.trainer import Trainer
from structalign.model.adapters import mixture_gates
from structalign.model.features import Features
from structalign.params.schema import overlay
from structalign.params.section import leaves
from structalign.presets import read_layers
from structalign.strict_yaml import load_yaml

CHOICES = {
    "method.name": "structalign_released",
    "backbone.precision": "fp32",
    "features.train_views": 0,
    "features.flip": True,
    "adapters.fusion_init": "uniform",
    "adapters.words": "with_padding",
    "contrastive.logit_adjustment": 0,
    "contrastive.sentence_weight": 0,
    "contrastive.mask_duplicates": False,
    "etf.dim": 512,
    "etf.vertices": "gaussian",
    "etf.head": "frozen_random",
    "etf.seed": 0,
    "crp.teacher": "pretrained",
    "crp.weight": 10,
    "pseudo.weight": 0.5,
    "pseudo.covariance": "radius",
    "pseudo.mask_same_category": False,
    "optim.shared.batch": 32,
    "optim.shared.epoch": "captions",
    "optim.shared.sampling": "uniform",
    "optim.shared.weight_decay": 0.5,
    "optim.first.warmup": 0.1,
    "optim.later.warmup": 0,
}


@cache
def ours(task: int, count: int, kind: torch.dtype = torch.float32) -> Trained:
    state = {name: x if name.endswith("position_ids") else x.to(kind) for name, x in state_of().items()}
    vertices, steps = gaussian_vertices(ETF_DIM, CATEGORIES, 0), steps_of(task, count)
    if kind == torch.float64:
        vertices, steps = oracle.gaussian_vertices(ETF_DIM, CATEGORIES), [doubled(step) for step in steps]
    chosen = TaskSettings("structalign_released", task, act(task), LIKE, vertices)
    return train(ReferenceModel(state, CONFIG, LIKE), Training(chosen, steps, UPDATES, teacher=None))


@cache
def theirs(task: int, count: int) -> tuple[oracle.Training, list[dict[str, float]]]:
    loop = oracle.Training(exact(state_of()), PLAN, task, UPDATES, RATES, DECAY)
    vertices = oracle.gaussian_vertices(ETF_DIM, CATEGORIES)
    return loop, [loop.step(given(step), vertices) for step in steps_of(task, count)]


# --- towers ---


@pytest.mark.parametrize("adapters", [True, False])
def test_frames_equal_loops(adapters: bool) -> None:
    pixels, state = noise(2, FRAMES, 3, IMAGE, IMAGE), state_of()
    found = frame_embeddings(ReferenceModel(state, CONFIG, LIKE), pixels, adapters)
    plan = replace(PLAN, adapters=adapters)
    expected = [oracle.frame_embeddings(exact(state), plan, video) for video in pixels.double()]
    close(found, torch.stack(expected), 2e-5)


@pytest.mark.parametrize(
    ("task", "adapters"),
    [
        (1, True),
        (2, True),
        (3, True),
        (None, True),
        (2, False),
        (None, False),
    ],
)
def test_captions_equal_loops_with_their_padding(task: int | None, adapters: bool) -> None:
    batch, state = tokens(*CAPTIONS[0]), state_of()
    tasks = None if task is None else torch.full((PAIRS,), task)
    found = text_embeddings(ReferenceModel(state, CONFIG, LIKE), batch, tasks, adapters)
    plan = replace(PLAN, adapters=adapters)
    for b, (ids, eot) in enumerate(zip(batch.ids.tolist(), batch.eot.tolist(), strict=True)):
        expected = oracle.token_embeddings(exact(state), plan, ids, eot, task)
        close(found.words[b], expected, 2e-5)
        close(found.sentence[b], expected[eot], 2e-5)
        assert found.mask[b].nonzero()[:, 0].tolist() == oracle.padded_words(ids, eot)


@pytest.mark.parametrize("task", [2, 3, None])
@pytest.mark.parametrize("train", [True, False])
def test_gates_equal_loops(task: int | None, train: bool) -> None:
    state, x, table = state_of(), noise(4, WIDTH), noise(4, EXPERTS, seed=1)
    lora = "clipmodel.text_model.encoder.layers.1.self_attn.v_lora"
    rho = x if task is None else x + state[f"clipmodel.text_model.task_prototype.{task - 1}"]
    router, w_noise = (state[f"{lora}.{name}.weight"] for name in ("lora_route", "w_noise"))
    found = mixture_gates(rho, router, w_noise, (lambda logits: table) if train else None)
    for r in range(4):
        expected = oracle.gates(exact(state), lora, x[r].double(), task, table[r].double() if train else None)
        wanted = [float(expected.get(expert, torch.zeros(()))) for expert in range(EXPERTS)]
        assert found[r].tolist() == pytest.approx(wanted, rel=2e-5, abs=1e-7)


# --- a step ---


@pytest.mark.parametrize("task", [1, 2, 3])
def test_every_loss_equals_loops(task: int) -> None:
    (found,), (_, (expected,)) = ours(task, 1).steps, theirs(task, 1)
    assert {**found.weighted, "grad_norm": found.grad_norm} == {
        name: pytest.approx(value, rel=2e-5) for name, value in expected.items()
    }


@pytest.mark.parametrize("task", [1, 2])
def test_every_gradient_equals_loops(task: int) -> None:
    found, (loop, _) = ours(task, 1), theirs(task, 1)
    assert set(found.clipped_gradients) == set(loop.clipped)
    for name, gradient in loop.clipped.items():
        scale = max(float(gradient.abs().max()), 1e-4)  # of a key bias it is zero but for rounding
        torch.testing.assert_close(
            found.clipped_gradients[name].double(), gradient, rtol=0, atol=1e-4 * scale, msg=name
        )


def rates_off(found: Trained, loop: oracle.Training) -> Tensor:
    """For every trained number, the difference in units of its learning rate."""
    return torch.cat([
        ((found.state[name].double() - loop.state[name]).abs() / RATES[kind]).flatten()
        for name, kind in loop.kinds.items()
    ])  # fmt: skip


@pytest.mark.parametrize("task", [1, 2, 3])
def test_whole_steps_equal_loops(task: int) -> None:
    """Three steps, so that moments and leftover gradients count; in float64, where CLIP's softmax stays float32."""
    found, (loop, rows) = ours(task, 3, torch.float64), theirs(task, 3)
    assert [step.grad_norm for step in found.steps] == pytest.approx([row["grad_norm"] for row in rows], rel=1e-5)
    assert float(rates_off(found, loop).max()) < 1e-4


@pytest.mark.parametrize("task", [1, 2])
def test_whole_steps_equal_loops_in_float32(task: int) -> None:
    """AdamW divides a gradient by its size, which magnifies the rounding of a few numbers among thousands."""
    found, (loop, _) = ours(task, 3), theirs(task, 3)
    off = rates_off(found, loop)
    assert float(off.quantile(0.999)) < 1e-4
    assert float(off.max()) < 1e-3


@pytest.mark.parametrize("task", [1, 2])
def test_steps_move_what_learns_and_nothing_else(task: int) -> None:
    found, before, (loop, _) = ours(task, 3), state_of(), theirs(task, 3)
    assert {name for name, x in found.state.items() if not torch.equal(x, before[name])} == set(loop.moments)


# --- the schedule and batches ---


@pytest.mark.parametrize("task", [1, 2])
def test_the_rate_runs_through_a_whole_cosine(task: int) -> None:
    warmup = 0.1 if task == 1 else 0.0
    found = [released.whole_cosine(k, 40, warmup) for k in range(40)]
    assert found == pytest.approx([oracle.rate(k, 40, task) for k in range(40)])


def test_the_rate_ends_near_its_maximum() -> None:
    assert released.whole_cosine(999, 1000, 0.1) > 0.99


def test_partial_batches_are_dropped() -> None:
    row = torch.arange(8)
    assert [part.caption.tolist() for part in released.full_batches(Pairs(row, row, row), 3)] == [[0, 1, 2], [3, 4, 5]]


def test_less_than_a_batch_is_refused_with_a_remedy() -> None:
    row = torch.arange(2)
    with pytest.raises(UserError, match=r"lower `optim\.shared\.batch` = 3"):
        list(released.full_batches(Pairs(row, row, row), 3))


# --- pseudo-features ---


def test_prototypes_equal_loops_and_one_sample_gives_nan() -> None:
    text, video, category = noise(6, DIM), noise(6, DIM, seed=1), torch.tensor([0, 1, 0, 0, 1, 2])
    memory = released.released_memory(empty_memory(gaussian_vertices(ETF_DIM, 6, 0), DIM), text, video, category, 3)
    for c in range(3):
        mean, radius = oracle.prototype(list(text[category == c].double()))
        close(memory.text_mean[c], mean, 2e-5)
        assert float(memory.text_radius[c]) == pytest.approx(radius, rel=2e-5, nan_ok=True)
        mean, radius = oracle.prototype(list(video[category == c].double()))
        close(memory.video_mean[c], mean, 2e-5)
        assert float(memory.video_radius[c]) == pytest.approx(radius, rel=2e-5, nan_ok=True)


def test_pseudo_features_are_of_augmented_views_and_of_texts_without_a_prototype(tmp_path: Path) -> None:
    trainer = first_task(tmp_path)
    trainer.fit(lambda row: None)
    epoch = trainer.epoch(trainer.settings.phase.epochs)
    memory = trainer.remember(2)
    pairs = [(int(c), int(v), int(w)) for c, v, w in zip(epoch.caption, epoch.video, epoch.view, strict=True)]
    texts, videos, category = [], [], []
    for start in (0, 3):
        part = pairs[start : start + 3]
        captions = trainer.captions.tokens[torch.tensor([c for c, _, _ in part])]
        with torch.no_grad():
            text = released.encode_unrouted(trainer.model, captions)
            states = torch.stack([trainer.features.read(v, f"view{w:02d}") for _, v, w in part])
            frames = trainer.model.encode_frames(states)
        texts += [words[mask].mean(dim=0) for words, mask in zip(text.words, text.mask, strict=True)]
        videos += [video.mean(dim=0) for video in frames]
        category += [int(trainer.captions.category[c]) for c, _, _ in part]
    for c in range(2):
        mean, _ = oracle.prototype([x.double() for x, own in zip(texts, category, strict=True) if own == c])
        close(memory.text_mean[c], mean, 2e-5)
        mean, _ = oracle.prototype([x.double() for x, own in zip(videos, category, strict=True) if own == c])
        close(memory.video_mean[c], mean, 2e-5)


# --- a task ---


def first_task(folder: Path, epochs: int = 2) -> Trainer:
    settled = act(1)
    settled = replace(settled, phase=settled.phase.model_copy(update={"epochs": epochs}))
    features = write_features(folder / "t01") if not (folder / "t01").exists() else Features(folder / "t01")
    memory = empty_memory(gaussian_vertices(ETF_DIM, CATEGORIES, 0), DIM)
    return Trainer(released_model(), load_method("structalign_released"), features, memory, 1, settled, CPU)


def test_the_temperature_is_set_before_the_first_step(tmp_path: Path) -> None:
    trainer = first_task(tmp_path)
    trainer.fit(lambda row: None)
    assert float(released.logit_scale(trainer.model)) == pytest.approx(4.60)


def test_after_a_task_no_parameter_of_clip_requires_gradients(tmp_path: Path) -> None:
    trainer = first_task(tmp_path)
    trainer.fit(lambda row: None)
    backbone = [*trainer.model.backbone_parameters(), *trainer.model.head.parameters()]
    assert not any(p.requires_grad or p.grad is not None for p in backbone)


def test_trained_parameters_are_counted_without_leftovers(tmp_path: Path) -> None:
    trainer = first_task(tmp_path)
    trainer.fit(lambda row: None)
    learning = trainer.model.learning(1)
    named = load_method("structalign_released").trains
    assert trainer.trained_parameters == sum(p.numel() for name in named for p in learning[name])


def test_a_resumed_task_has_its_leftover_gradients(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRUCTALIGN_SAVE_SECONDS", "0")
    whole = first_task(tmp_path)
    whole.fit(lambda row: None)
    scratch = tmp_path / "scratch"
    scratch.mkdir()

    def interrupt(row: LogRow) -> None:
        if row["step"] == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        first_task(tmp_path).fit(interrupt, scratch)
    resumed = first_task(tmp_path)
    resumed.fit(lambda row: None, scratch)
    for name, tensor in whole.model.adapter_state().items():
        assert torch.equal(tensor, resumed.model.adapter_state()[name]), name


@pytest.mark.parametrize("dataset", ["msrvtt", "actnet"])
def test_the_preset_makes_every_choice_of_the_release_on_top_of_a_datasets(
    dataset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    params = load_yaml(ROOT / "params.yaml")
    for layer in (*read_layers(dataset), *read_layers("released")):
        overlay(params, layer)
    found = dict(leaves(params))
    assert {key: found[key] for key in CHOICES} == CHOICES


# --- evaluation ---


def test_accuracy_equals_loops_over_the_whole_gallery() -> None:
    words, sentence = noise(5, 8), noise(5, 8, seed=1)
    owner, own = [2, 3, 2, 4, 3], [2, 3, 4]
    expected = oracle.released_accuracy(words, sentence, 0.3, owner, own)
    found = released.released_accuracy(words, sentence, 0.3, torch.tensor(owner), slice(2, 5))
    assert 0 < expected < 100
    assert found == pytest.approx(expected)


def test_forgetting_is_weighted_by_categories() -> None:
    acc = {"t01": {"t01": 50.0}, "t02": {"t01": 40.0, "t02": 30.0}, "t03": {"t01": 45.0, "t02": 10.0, "t03": 1.0}}
    assert released.released_forgetting(acc, {"t01": 3, "t02": 1, "t03": 9}, "t03") == (3 * 5 + 20) / 4
