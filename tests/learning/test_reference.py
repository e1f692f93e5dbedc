"""The reference API beyond the released method, against slow loops (`oracle`) where these exist."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import oracle
import pytest
import torch
from codemap import ROOT
from released_case import (
    CAPTIONS,
    CATEGORIES,
    CONFIG,
    EXPERTS,
    LIKE,
    PAIRS,
    PLAN,
    UPDATES,
    act,
    close,
    exact,
    given,
    state_of,
    steps_of,
)
from safetensors.torch import save_file
from tiny import BOS, DIM, EOT, ETF_DIM, FRAMES, IMAGE, noise, shaken, tiny_clip, tokens, turned
from torch import Tensor

from structalign.errors import UserError
from structalign.learning.etf import gaussian_vertices
from structalign.learning.reference.settings import TaskSettings, settings_from
from structalign.learning.reference.towers import ReferenceModel, frame_embeddings, route, text_embeddings
from structalign.learning.reference.training import Trained, Training, train
from structalign.model.released_names import to_released
from structalign.model.video_text import VideoText
from structalign.params.losses import Contrastive, Crp, Etf, Pseudo

MODEL = ReferenceModel(state_of(), CONFIG, LIKE)
VERTICES = gaussian_vertices(ETF_DIM, CATEGORIES, 0)


def training(task: int = 2, count: int = 1, method: str = "structalign_released", **other: Any) -> Training:
    chosen = TaskSettings(method, task, act(task), LIKE, VERTICES)
    return Training(chosen, steps_of(task, count), UPDATES, **{"teacher": None, **other})


@cache
def trained(task: int) -> Trained:
    return train(MODEL, training(task))


@cache
def other_state(tasks: int = 3) -> dict[str, Tensor]:
    """Another student of the same CLIP, used as a teacher."""
    learned = ("self_attn.alpha", "frame_cross", "lora_", "w_noise", "task_prototype", "etf_proj")
    return {name: x * 1.5 if any(part in name for part in learned) else x for name, x in state_of(tasks).items()}


# --- losses ---


def unweighted_by_loops(task: int, teacher: dict[str, Tensor] | None = None) -> dict[str, float]:
    """The losses of the first step, each from its formula.

    The teacher is zero-shot CLIP, or a state that is routed as the previous task.
    """
    state, batch = exact(state_of()), given(steps_of(task, 1)[0])
    words, frames, s = oracle.similarities(state, PLAN, batch, task, train=True)
    scale = state["clipmodel.logit_scale"].exp()
    tau = scale / PAIRS**0.5
    h1, h2 = state["etf_proj1.weight"], state["etf_proj2.weight"]
    own = torch.stack([oracle.gaussian_vertices(ETF_DIM, CATEGORIES)[c] for c in batch.category])
    etf = oracle.alignment([[h1 @ w for w in caption] for caption in words], frames @ h2.T, own)
    found = {"contrastive": oracle.contrastive(tau * s), "etf": etf}
    if task > 1:
        plan = replace(PLAN, adapters=teacher is not None)
        taught = oracle.similarities(exact(teacher or state_of()), plan, batch, max(1, task - 1), train=False)[2]
        found["crp"] = oracle.relation(tau * s, tau * taught, 2)
        assert batch.etf_pseudo is not None
        assert batch.pseudo is not None
        text, video, category = batch.etf_pseudo
        vertices = oracle.gaussian_vertices(ETF_DIM, CATEGORIES)[category]
        found["etf"] = etf + oracle.pseudo_alignment(text @ h2.T, video @ h1.T, vertices)
        text, video, _ = batch.pseudo
        means = [torch.stack(w).mean(dim=0) for w in words], [f.mean(dim=0) for f in frames]
        texts, videos = (torch.stack([oracle.unit(x) for x in side]) for side in means)
        logits = scale * torch.cat([videos, video]) @ torch.cat([texts, text]).T
        found["pseudo"] = oracle.contrastive(logits)
    return {name: float(loss) for name, loss in found.items()}


@pytest.mark.parametrize("task", [1, 2])
def test_losses_before_their_weights_equal_loops(task: int) -> None:
    expected = {name: pytest.approx(loss, rel=2e-5) for name, loss in unweighted_by_loops(task).items()}
    assert trained(task).steps[0].unweighted == expected


def test_each_loss_has_its_weight() -> None:
    step = trained(2).steps[0]
    share = {name: step.weighted[name] / loss for name, loss in step.unweighted.items()}
    factor = 0.1 * (step.weighted["contrastive"] + step.weighted["crp"]) / step.unweighted["etf"]
    assert share == pytest.approx({"contrastive": 1, "crp": 10, "etf": factor, "pseudo": 0.5}, rel=1e-6)
    assert step.loss == pytest.approx(sum(step.weighted.values()), rel=1e-6)


def test_stablefusion_s_two_losses_share_one_weight() -> None:
    choice = training(method="stablefusion", remembered={"videos": noise(4, DIM)})
    step = train(MODEL, choice).steps[0]
    assert step.weighted["contrastive"] == pytest.approx(0.4 * step.unweighted["contrastive"], rel=1e-6)
    assert step.weighted["stored"] == pytest.approx(0.6 * step.unweighted["stored"], rel=1e-6)


# --- the teacher ---


@pytest.mark.parametrize("task", [2, 3])
def test_a_state_dict_teaches_as_the_task_before(task: int) -> None:
    expected = unweighted_by_loops(task, other_state())["crp"]
    found = train(MODEL, training(task, teacher=other_state(task - 1))).steps[0].unweighted["crp"]
    assert found == pytest.approx(expected, rel=2e-5)
    assert found != pytest.approx(unweighted_by_loops(task)["crp"], rel=1e-2)


@pytest.mark.parametrize("section", ["previous", "pretrained"])
@pytest.mark.parametrize("teacher", [None, other_state()])
def test_a_given_teacher_replaces_that_of_the_settings(section: str, teacher: dict[str, Tensor] | None) -> None:
    expected = unweighted_by_loops(2, teacher)["crp"]
    choice = training(teacher=teacher)
    chosen = replace(choice.settings, settings=turned(act(2), Crp, teacher=section))
    found = train(MODEL, replace(choice, settings=chosen)).steps[0].unweighted["crp"]
    assert found == pytest.approx(expected, rel=2e-5)


def test_a_state_dict_also_teaches_with_strict_words() -> None:
    words = replace(LIKE, words="strict")
    model = replace(MODEL, model_config=words)
    choice = training(teacher=model.state)
    chosen = replace(choice.settings, model_config=words)
    step = train(model, replace(choice, settings=chosen)).steps[0]
    assert step.unweighted["crp"] == pytest.approx(relation_to_itself(), rel=2e-5)


def relation_to_itself() -> float:
    """L_CRP of a student that is its own teacher, routed as the previous task, with strict words."""
    state, batch = exact(state_of()), given(steps_of(2, 1)[0])
    found = []
    for task, train_ in ((2, True), (1, False)):
        words = []
        for b, ids in enumerate(batch.ids):
            drawn = batch.noise[b] if train_ else None
            every = oracle.token_embeddings(state, PLAN, ids, batch.eot[b], task, drawn)
            words.append([every[j] for j in oracle.strict_words(ids, batch.eot[b])])
        frames = [oracle.frame_embeddings(state, PLAN, video) for video in batch.video]
        found.append(torch.stack([torch.stack([oracle.word_frame(w, f) for f in frames]) for w in words]))
    tau = state["clipmodel.logit_scale"].exp() / PAIRS**0.5
    return float(oracle.relation(tau * found[0], tau * found[1], 2))


def test_the_teacher_is_not_trained() -> None:
    teacher = other_state()
    before = {name: x.clone() for name, x in teacher.items()}
    train(MODEL, training(count=2, teacher=teacher))
    assert all(torch.equal(x, before[name]) for name, x in teacher.items())


# --- rates and gradients ---


GROUPS = {  # parts of the released names
    "fusion": ("frame_cross_attention",),
    "alpha": ("self_attn.alpha",),
    "lora": ("lora_A", "lora_B"),
    "router": ("lora_route", "w_noise"),
    "task_prototypes": ("task_prototype",),
}


@pytest.mark.parametrize("group", GROUPS)
def test_a_group_s_rate_only_changes_that_group(group: str) -> None:
    before, plain = state_of(), trained(2).state
    still = train(MODEL, training(rates={group: 0.0})).state
    for name, tensor in still.items():
        mine = any(part in name for part in GROUPS[group])
        assert torch.equal(tensor, (before if mine else plain)[name]), name
    for part in GROUPS[group]:
        assert any(not torch.equal(plain[name], before[name]) for name in plain if part in name)


def test_rates_of_all_groups_are_the_phase_s_when_they_are_equal() -> None:
    same = {"fusion": 1e-2, "lora": 1e-2, "router": 1e-2, "alpha": 2e-2, "task_prototypes": 2e-2}
    found = train(MODEL, training(rates=same)).state
    assert all(torch.equal(x, found[name]) for name, x in trained(2).state.items())


@pytest.mark.parametrize("task", [1, 2])
def test_gradients_are_given_before_and_after_they_are_clipped(task: int) -> None:
    found = trained(task)
    (step,) = found.steps
    assert found.gradients.keys() == found.clipped_gradients.keys()
    norm = sum(float((g.double() ** 2).sum()) for g in found.gradients.values()) ** 0.5
    clipped = sum(float((g.double() ** 2).sum()) for g in found.clipped_gradients.values()) ** 0.5
    assert step.grad_norm == pytest.approx(norm, rel=1e-5)
    assert step.clipped_norm == pytest.approx(clipped, rel=1e-5)
    assert step.grad_norm > 1
    assert step.clipped_norm == pytest.approx(1, rel=1e-5)
    for name, gradient in found.gradients.items():
        torch.testing.assert_close(found.clipped_gradients[name], gradient / (step.grad_norm + 1e-6))


# --- gates ---


@pytest.mark.parametrize("tasks", [(1, 1, 1), (2, 2, 2), (3, 1, 2), None])
def test_gates_and_logits_of_every_projection_equal_loops(
    tasks: tuple[int, ...] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    state, batch = exact(state_of()), tokens(*CAPTIONS[0])
    found = route(MODEL, batch, None if tasks is None else torch.tensor(tasks))
    seen: dict[str, tuple[list[float], Tensor]] = {}
    plain = oracle.gates

    def watch(state: Any, lora: str, at_eot: Tensor, task: int | None, *noise: Tensor | None) -> dict[int, Tensor]:
        gates = plain(state, lora, at_eot, task, *noise)
        rho = at_eot if task is None else at_eot + state[f"clipmodel.text_model.task_prototype.{task - 1}"]
        logits = state[f"{lora}.lora_route.weight"] @ rho
        seen[lora] = [float(gates.get(e, 0)) for e in range(EXPERTS)], logits
        return gates

    monkeypatch.setattr(oracle, "gates", watch)
    for b, (ids, eot) in enumerate(zip(batch.ids.tolist(), batch.eot.tolist(), strict=True)):
        task = None if tasks is None else tasks[b]
        oracle.token_embeddings(state, PLAN, ids, eot, task)
        assert found.keys() == seen.keys()
        for name, (gates, logits) in seen.items():
            assert found[name].gates[b].tolist() == pytest.approx(gates, rel=2e-5, abs=1e-7)
            if task == 1:
                assert found[name].logits[b].isnan().all()
            else:
                close(found[name].logits[b], logits, 2e-5)


# --- settings ---


def test_presets_give_the_settings_of_a_task(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    found = settings_from("msrvtt-10", "released", task=2)
    assert (found.method, found.number) == ("structalign_released", 2)
    assert (found.settings.phase.lr, found.settings.phase.alpha_lr) == (3e-6, 1e-5)
    assert (found.settings[Crp].weight, found.settings[Crp].teacher) == (10, "pretrained")
    config = found.model_config
    assert (config.frames, config.vision_frozen, config.rank, config.experts) == (12, 2, 64, 10)
    assert (config.head, config.words) == ("frozen_random", "with_padding")
    assert torch.equal(found.vertices, gaussian_vertices(512, 20, 0))


def test_the_first_task_has_its_own_rates_and_no_later_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    found = settings_from("msrvtt-10", task=1)
    assert (found.settings.phase.lr, found.settings.phase.warmup) == (2e-5, 0.1)
    acting = {type(section) for section in found.settings.losses}
    assert {Contrastive, Etf} <= acting
    assert not acting & {Crp, Pseudo}
    assert found.settings.acts(Pseudo) is False


def test_a_later_preset_overrides_an_earlier_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    names = ("released", "msrvtt-10")
    assert settings_from(*names, task=2).settings[Crp].teacher == "previous"
    assert settings_from(*reversed(names), task=2).settings[Crp].teacher == "pretrained"


def test_without_a_preset_the_settings_are_those_of_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert settings_from(task=30).model_config.frames == 8


@pytest.mark.parametrize("task", [0, -1, 11])
def test_settings_of_a_missing_task_are_refused(task: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    with pytest.raises(UserError, match=rf"there is no task {task} in msrvtt-10 released: choose one from 1 to 10"):
        settings_from("msrvtt-10", "released", task=task)


# --- what is refused ---


@pytest.mark.parametrize("frames", [FRAMES - 1, FRAMES + 1, 2 * FRAMES])
def test_another_number_of_frames_than_the_model_config_s_is_refused(frames: int) -> None:
    pixels = noise(1, frames, 3, IMAGE, IMAGE)
    for adapters in (True, False):
        with pytest.raises(UserError, match=rf"{frames} frames .* N = {FRAMES}"):
            frame_embeddings(MODEL, pixels, adapters)
    choice = training()
    steps = [replace(choice.steps[0], pixels=noise(PAIRS, frames, 3, IMAGE, IMAGE))]
    with pytest.raises(UserError, match=rf"the model config has N = {FRAMES}"):
        train(MODEL, replace(choice, steps=steps))


@pytest.mark.parametrize(
    ("pixels", "reason"),
    [
        (noise(FRAMES, 3, IMAGE, IMAGE), "must be normalised videos"),
        (noise(1, FRAMES, 3, IMAGE, IMAGE).to(torch.uint8), "must be normalised videos"),
        (noise(0, FRAMES, 3, IMAGE, IMAGE), "must be normalised videos"),
        (noise(1, FRAMES, 3, IMAGE, IMAGE + 16), r"must be \[3, 32, 32\]"),
        (noise(1, FRAMES, IMAGE, IMAGE, 3), r"must be \[3, 32, 32\]"),
    ],
)
def test_invalid_pixels_are_refused(pixels: Tensor, reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        frame_embeddings(MODEL, pixels)


@pytest.mark.parametrize("task", [0, -1, 4])
def test_a_task_without_a_prototype_is_refused(task: int) -> None:
    batch, tasks = tokens(*CAPTIONS[0]), torch.tensor([1, 2, task])
    for adapters in (True, False):
        with pytest.raises(UserError, match=rf"3 task prototypes, none of them of task {task}"):
            text_embeddings(MODEL, batch, tasks, adapters)
    with pytest.raises(UserError, match=rf"none of them of task {task}"):
        route(MODEL, batch, tasks)
    choice = training()
    with pytest.raises(UserError, match=rf"none of them of task {task}"):
        train(MODEL, replace(choice, settings=replace(choice.settings, number=task)))


def test_a_teacher_that_does_not_know_the_task_before_is_refused() -> None:
    with pytest.raises(UserError, match=r"teacher's state dict has 1 task prototype, none of them of task 2"):
        train(MODEL, training(3, teacher=other_state(1)))


def test_the_number_of_tasks_must_be_that_of_captions() -> None:
    with pytest.raises(UserError, match=r"`tasks` .* \[3\], not \[1\]"):
        text_embeddings(MODEL, tokens(*CAPTIONS[0]), torch.tensor([2]))


def without_pairs(choice: Training) -> Training:
    return replace(choice, steps=[replace(choice.steps[0], pseudo=None)])


def another_config(choice: Training) -> Training:
    return replace(choice, settings=replace(choice.settings, model_config=replace(LIKE, words="strict")))


def high_category(choice: Training) -> Training:
    return replace(choice, steps=[replace(choice.steps[0], category=torch.tensor([4, 4, CATEGORIES]))])


def fewer_captions(choice: Training) -> Training:
    return replace(choice, steps=[replace(choice.steps[0], tokens=tokens((5,), (6,)))])


def flat_vertices(choice: Training) -> Training:
    return replace(choice, settings=replace(choice.settings, vertices=VERTICES[:, 1:]))


REFUSED: list[tuple[Callable[[Training], Training], str]] = [
    (lambda x: replace(x, rates={"loras": 1.0}), "`loras` is not a group of structalign_released: choose from fusion"),
    (lambda x: replace(x, rates={"lora": -1.0}), "rate of `lora` must be a number, at least 0, not -1.0"),
    (lambda x: replace(x, rates={"lora": float("nan")}), "rate of `lora` must be a number, at least 0, not nan"),
    (lambda x: replace(x, updates=0), "1 step of 0 updates"),
    (lambda x: replace(x, steps=[]), "0 steps of 10 updates"),
    (lambda x: replace(x, settings=replace(x.settings, method="lwf")), "`lwf` has no parameters with released names"),
    (lambda x: replace(x, settings=replace(x.settings, method="zero_shot")), "`zero_shot` has no parameters"),
    (lambda x: replace(x, settings=replace(x.settings, method="stablefusion")), "needs `videos` of past tasks"),
    (without_pairs, "step 0 lacks `pseudo`"),
    (another_config, "different model configs"),
    (high_category, "categories without a vertex: there are 6"),
    (fewer_captions, "many videos, captions, ids and categories"),
    (flat_vertices, r"vertices must be \[C, 20\], not \[6, 19\]"),
]


@pytest.mark.parametrize(("change", "reason"), REFUSED)
def test_an_invalid_training_is_refused(change: Callable[[Training], Training], reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        train(MODEL, change(training()))


# --- the documentation ---


def test_the_documented_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example runs unchanged, on a tiny model with fewer pixels and tokens."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "presets", "presets")
    shutil.copy(ROOT / "params.yaml", ".")
    Path("clip").mkdir()
    Path("clip/config.json").write_text(json.dumps(CONFIG))
    model = VideoText(tiny_clip(), replace(LIKE, frames=12, vision_frozen=2, etf_dim=512), 0)
    model.add_task_prototype("first")
    model.add_task_prototype("second")
    save_file({name: x.contiguous() for name, x in to_released(shaken(model), {}).items()}, "t02.safetensors")
    section = (ROOT / "docs/methods.md").read_text(encoding="utf-8").split("## Every piece as a function")[1]
    code = section.split("```python\n")[1].split("```")[0]
    small = {"224": str(IMAGE), "49406": str(BOS), "49407": str(EOT), "320, 1125": "5, 6", "320, 1929": "7, 8"}
    for published, tiny in small.items():
        assert published in code
        code = code.replace(published, tiny)
    found: dict[str, Any] = {}
    exec(code, found)
    assert found["frames"].shape == (2, 12, DIM)
    assert set(found["trained"].steps[0].unweighted) == {"contrastive", "crp", "etf", "pseudo"}
