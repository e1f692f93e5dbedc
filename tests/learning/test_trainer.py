import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import settings as trials
from hypothesis import strategies as st
from tiny import (
    CPU,
    LAYERS,
    begin_task,
    finish_task,
    fresh_memory,
    second_task_of,
    settings,
    shaken,
    tiny_clip,
    tiny_model,
    tokens,
    turned,
    write_features,
)
from torch import Tensor

from structalign.errors import UserError
from structalign.learning import losses
from structalign.learning.batches import Pairs, balanced, batches, epoch_pairs
from structalign.learning.loading import load_method
from structalign.learning.memory import Memory
from structalign.learning.optimizer import optimizer, schedule
from structalign.learning.resume import LogRow
from structalign.learning.settings import Settings
from structalign.learning.trainer import Trainer
from structalign.model.features import CENTRE, Captions, Features, view_name
from structalign.model.text_encoding import encode_captions
from structalign.model.video_text import VideoText
from structalign.params.losses import Contrastive, Crp, Pseudo
from structalign.search.similarity import sentence_video, word_frame

METHOD = load_method("structalign")
PROJECTIONS = ("q_proj", "k_proj", "v_proj", "out_proj")

# --- the schedule ---


def test_the_rate_rises_in_a_line() -> None:
    assert [schedule(k, 40, 0.1) for k in range(4)] == pytest.approx([0, 0.25, 0.5, 0.75])


@given(st.integers(1, 200), st.floats(0, 0.9))
def test_after_warm_up_the_rate_is_half_a_cosine(steps: int, warmup: float) -> None:
    rising = int(warmup * steps)
    for k in range(rising, steps):
        expected = (1 + math.cos(math.pi * (k - rising) / (steps - rising))) / 2
        assert schedule(k, steps, warmup) == pytest.approx(expected)


@given(st.integers(1, 200), st.floats(0, 0.9))
def test_the_rate_never_rises_again(steps: int, warmup: float) -> None:
    rates = [schedule(k, steps, warmup) for k in range(int(warmup * steps), steps)]
    assert rates == sorted(rates, reverse=True)


# --- the order of pairs ---


def captions(video: list[int]) -> Captions:
    rows = torch.tensor(video)
    return Captions(tokens(*([5] for _ in video)), rows, rows % 2)


owners = st.lists(st.integers(0, 3), max_size=8).map(lambda extra: [0, 1, 2, 3, *extra])


@given(owners, st.integers(0, 9))
@trials(deadline=None)
def test_an_epoch_of_videos_visits_every_video_once(video: list[int], epoch: int) -> None:
    assert sorted(epoch_pairs(captions(video), 4, 2, "videos", 0, epoch).video.tolist()) == [0, 1, 2, 3]


@given(owners, st.integers(0, 9))
@trials(deadline=None)
def test_a_drawn_caption_is_one_of_its_video(video: list[int], epoch: int) -> None:
    pairs = epoch_pairs(captions(video), 4, 2, "videos", 0, epoch)
    assert [video[c] for c in pairs.caption.tolist()] == pairs.video.tolist()


@given(owners, st.integers(0, 9))
@trials(deadline=None)
def test_an_epoch_of_captions_visits_every_caption_once(video: list[int], epoch: int) -> None:
    pairs = epoch_pairs(captions(video), 4, 2, "captions", 0, epoch)
    assert sorted(pairs.caption.tolist()) == list(range(len(video)))


@pytest.mark.parametrize("how", ["videos", "captions"])
@given(epoch=st.integers(0, 9), views=st.integers(1, 5))
@trials(deadline=None)
def test_views_take_turns(how: str, epoch: int, views: int) -> None:
    pairs = epoch_pairs(captions([0, 1, 2, 3, 3]), 4, views, how, 0, epoch)
    assert pairs.view.tolist() == [(epoch + v) % views for v in pairs.video.tolist()]


@pytest.mark.parametrize("how", ["videos", "captions"])
@pytest.mark.parametrize("even", [False, True])
def test_without_cached_views_every_visit_is_a_new_view(how: str, even: bool) -> None:
    seen: list[int] = []
    for epoch in range(3):
        pairs = balanced_epoch(epoch, 0, how) if even else epoch_pairs(tail_captions(), 11, 0, how, 0, epoch)
        seen += pairs.view.tolist()
    assert len(set(seen)) == len(seen)


def test_every_caption_of_a_video_is_drawn_sometimes() -> None:
    drawn = {int(epoch_pairs(captions([0, 0, 0]), 1, 1, "videos", 0, e).caption) for e in range(30)}
    assert drawn == {0, 1, 2}


def test_two_epochs_have_different_orders() -> None:
    one, other = (epoch_pairs(captions([*range(20)]), 20, 1, "videos", 0, e).video for e in (0, 1))
    assert not torch.equal(one, other)


def test_an_epoch_has_the_same_order_every_time() -> None:
    one, other = (epoch_pairs(captions([*range(20)]), 20, 1, "videos", 0, 3).video for _ in range(2))
    assert torch.equal(one, other)


def test_a_video_without_captions_is_left_out() -> None:
    assert sorted(epoch_pairs(captions([0, 2]), 3, 1, "videos", 0, 0).video.tolist()) == [0, 2]


@given(st.integers(0, 40), st.integers(2, 9))
def test_only_a_single_last_pair_is_left_out(count: int, size: int) -> None:
    row = torch.arange(count)
    visited = [b.caption.tolist() for b in batches(Pairs(row, row, row), size)]
    lost = 1 if count % size == 1 else 0
    assert [row for batch in visited for row in batch] == list(range(count - lost))


@given(st.integers(0, 40), st.integers(2, 9))
def test_a_batch_has_at_least_two_pairs(count: int, size: int) -> None:
    row = torch.arange(count)
    assert all(2 <= len(b.caption) <= size for b in batches(Pairs(row, row, row), size))


# --- balanced categories ---


def tail_captions() -> Captions:
    """Category 0 has eight videos, category 1 two and category 2 one, each with two captions."""
    video = torch.arange(11).repeat_interleave(2)
    category = torch.tensor([0] * 16 + [1] * 4 + [2] * 2)
    return Captions(tokens(*([5] for _ in video)), video, category)


def balanced_epoch(epoch: int = 0, views: int = 4, how: str = "videos") -> Pairs:
    return balanced(epoch_pairs(tail_captions(), 11, views, how, 0, epoch), tail_captions(), views, 0, epoch)


@pytest.mark.parametrize("how", ["videos", "captions"])
@given(epoch=st.integers(0, 9))
@trials(deadline=None)
def test_balanced_sampling_draws_all_categories_equally_often(how: str, epoch: int) -> None:
    found = torch.bincount(tail_captions().category[balanced_epoch(epoch, how=how).caption])
    assert int(found.max() - found.min()) <= 1


@pytest.mark.parametrize(("how", "pairs"), [("videos", 11), ("captions", 22)])
def test_a_balanced_epoch_is_as_long_as_an_ordinary_one(how: str, pairs: int) -> None:
    assert len(balanced_epoch(how=how).caption) == pairs


@given(st.integers(0, 9))
@trials(deadline=None)
def test_a_balanced_pair_is_a_video_and_its_caption(epoch: int) -> None:
    pairs = balanced_epoch(epoch)
    assert torch.equal(tail_captions().video[pairs.caption], pairs.video)


def test_repeats_of_a_video_have_other_views() -> None:
    """The last category's only video comes three or four times among eleven pairs."""
    pairs = balanced_epoch()
    own = pairs.view[pairs.video == 10]
    assert len(own) >= 3
    assert len(set(own.tolist())) == len(own)


def test_repeats_of_a_video_draw_captions_independently() -> None:
    drawn = {int(c) for e in range(10) for c in balanced_epoch(e).caption if c >= 20}
    assert drawn == {20, 21}


def test_balanced_sampling_reaches_the_training(tmp_path: Path) -> None:
    act = settings(1)
    shared = act.shared.model_copy(update={"sampling": "balanced"})
    trainer = first_task(tmp_path, replace(act, shared=shared))
    skewed = torch.where(trainer.captions.video > 0, 0, 1)
    trainer.captions = Captions(trainer.captions.tokens, trainer.captions.video, skewed)
    assert torch.bincount(skewed[trainer.epoch(0).caption]).tolist() == [3, 3]


# --- what is trained ---


def names(model: VideoText, parameters: list[Tensor]) -> list[str]:
    known = {id(p): name for name, p in model.named_parameters()}
    return [known[id(p)] for p in parameters]


def grouped(model: VideoText, task: int, method: str = "structalign") -> list[str]:
    act = settings(task)
    adamw = optimizer(model, load_method(method).trains, task, act.shared, act.phase)
    return names(model, [p for group in adamw.param_groups for p in group["params"]])


def expected_names(task: int) -> list[str]:
    """Written from the method, section 6: three layers, three experts, fusion in vision layers 1 and 2."""
    found = ["head.weight"]
    for layer in (1, 2):
        attention = f"clip.model.vision_model.encoder.layers.{layer}.self_attn"
        found += [f"{attention}.alpha"]
        found += [f"{attention}.{name}.{part}" for name in PROJECTIONS for part in ("weight", "bias")]
    for layer in range(LAYERS):
        for name in PROJECTIONS:
            mixture = f"clip.model.text_model.encoder.layers.{layer}.self_attn.{name}"
            found += [f"{mixture}.lora_A", *(f"{mixture}.lora_Bs.{e}" for e in range(1 if task == 1 else 3))]
            found += [f"{mixture}.router", f"{mixture}.w_noise"] if task > 1 else []
    return found + ([f"task_prototypes.{task - 1}"] if task > 1 else [])


@pytest.mark.parametrize("task", [1, 2, 3])
def test_a_task_trains_what_the_paper_trains(task: int) -> None:
    assert sorted(grouped(tiny_model(tasks=task), task)) == sorted(expected_names(task))


@pytest.mark.parametrize("method", ["structalign", "finetune"])
@pytest.mark.parametrize("task", [1, 2])
def test_every_trainable_parameter_is_in_exactly_one_group(task: int, method: str) -> None:
    model = tiny_model(tasks=task)
    grouped_names = grouped(model, task, method)
    assert sorted(grouped_names) == sorted(name for name, p in model.named_parameters() if p.requires_grad)


def test_finetuning_does_not_train_the_head() -> None:
    assert "head.weight" not in grouped(tiny_model(), 1, "finetune")


@pytest.mark.parametrize("task", [1, 2])
def test_decay_only_acts_on_lora_and_router(task: int) -> None:
    model, act = tiny_model(tasks=task), settings(task)
    adamw = optimizer(model, METHOD.trains, task, act.shared, act.phase)
    decayed = [p for group in adamw.param_groups if group["weight_decay"] for p in group["params"]]
    parts = ("lora_A", "lora_Bs", "router", "w_noise")
    wanted = [name for name in expected_names(task) if any(part in name for part in parts)]
    assert sorted(names(model, decayed)) == sorted(wanted)


# --- a task from start to end ---


def trained_memory(folder: Path, act: Settings | None = None) -> tuple[VideoText, Memory]:
    """A model after task 1, and its memory."""
    trainer = first_task(folder, act)
    trainer.fit(lambda row: None)
    return trainer.model, trainer.remember(2)


def first_task(folder: Path, act: Settings | None = None, method: str = "structalign") -> Trainer:
    features = write_features(folder / "t01") if not (folder / "t01").exists() else Features(folder / "t01")
    model = tiny_model(tasks=1, dropout=0.1)
    return Trainer(model, load_method(method), features, fresh_memory(), 1, act or settings(1), CPU)


def second_task(folder: Path, act: Settings | None = None, method: str = "structalign") -> Trainer:
    """Begin task 2 as the train stage does."""
    model, memory = trained_memory(folder)
    features = write_features(folder / "t02", first=2)
    model.add_task_prototype(0, "task prototype", 2)
    trainer = Trainer(model, load_method(method), features, memory, 2, act or settings(2), CPU)
    for mixture in model.mixtures():
        mixture.spread_first_expert()
    return trainer


def largest_gradients(trainer: Trainer) -> dict[str, float]:
    """Train. Returns the largest gradient of each trainable parameter."""
    act = trainer.settings
    optimizer(
        trainer.model, trainer.method.trains, trainer.number, act.shared, act.phase
    )  # chooses what requires a gradient
    seen = {name: 0.0 for name, p in trainer.model.named_parameters() if p.requires_grad}

    def watch(name: str, p: Tensor) -> None:
        def note(gradient: Tensor) -> None:
            seen[name] = max(seen[name], float(gradient.abs().max()))

        p.register_hook(note)  # type: ignore[no-untyped-call]

    for name, p in trainer.model.named_parameters():
        if p.requires_grad:
            watch(name, p)
    trainer.fit(lambda row: None)
    return seen


@pytest.mark.parametrize("task", [1, 2])
def test_everything_trainable_gets_a_gradient(tmp_path: Path, task: int) -> None:
    # A key's bias adds one number to all logits of a softmax: its gradient is zero by construction. An expert gets one
    # as soon as a caption chooses it, so there are a few epochs.
    begin = first_task if task == 1 else second_task
    seen = largest_gradients(begin(tmp_path, settings(task, epochs=4, batch=2, epoch="captions")))
    still = {name for name, size in seen.items() if size < 1e-7}
    assert {name for name in still if not name.endswith("k_proj.bias")} == set()


def test_at_the_first_step_only_parameters_behind_a_zero_get_no_gradient(tmp_path: Path) -> None:
    # alpha = 0 hides the fusion projections, and B = 0 hides A.
    trainer = first_task(tmp_path, settings(1, epochs=1, batch=6))
    still = {name for name, size in largest_gradients(trainer).items() if size == 0.0}
    fusion = {n for n in expected_names(1) if "vision_model" in n and not n.endswith("alpha")}
    assert still == fusion | {n for n in expected_names(1) if n.endswith("lora_A")}


@pytest.fixture(scope="module")
def one_step(tmp_path_factory: pytest.TempPathFactory) -> tuple[VideoText, dict[str, Tensor]]:
    """A model of many experts after one step of two captions, and its former adapters."""
    features = write_features(tmp_path_factory.mktemp("one") / "t02", videos=2, each=1)
    model = shaken(tiny_model(tasks=2, experts=8))
    act = settings(2, epochs=1)
    trainer = Trainer(model, load_method("finetune"), features, fresh_memory(), 2, act, CPU)
    before = {name: tensor.clone() for name, tensor in model.adapter_state().items()}
    trainer.fit(lambda row: None)
    return model, before


def test_two_captions_leave_experts_unused(one_step: tuple[VideoText, dict[str, Tensor]]) -> None:
    assert all(int(mixture.used.sum()) <= 4 for mixture in one_step[0].mixtures())


def test_an_unused_expert_gets_no_gradient(one_step: tuple[VideoText, dict[str, Tensor]]) -> None:
    unused = [b for m in one_step[0].mixtures() for b, used in zip(m.lora_Bs, m.used, strict=True) if not used]
    assert all(expert.grad is None for expert in unused)


def test_exactly_the_used_experts_move(one_step: tuple[VideoText, dict[str, Tensor]]) -> None:
    model, before = one_step
    after = model.adapter_state()
    moved = {name for name in after if "lora_Bs" in name and not torch.equal(after[name], before[name])}
    used = {
        f"{name}.lora_Bs.{expert}"
        for name, mixture in model.named_modules()
        if mixture in model.mixtures()
        for expert in mixture.used.nonzero()[:, 0].tolist()
    }
    assert moved == used


@pytest.mark.parametrize("begin", [first_task, second_task])
def test_training_twice_gives_equal_bits(tmp_path: Path, begin: Callable[[Path], Trainer]) -> None:
    results = []
    for folder in ("a", "b"):
        trainer = begin(tmp_path / folder)
        trainer.fit(lambda row: None)
        results.append(trainer.model.adapter_state())
    assert all(torch.equal(tensor, results[1][name]) for name, tensor in results[0].items())


def test_training_does_not_change_the_backbone(tmp_path: Path) -> None:
    model, _ = trained_memory(tmp_path)
    ours = list(model.backbone_parameters())
    assert all(torch.equal(p, q) for p, q in zip(ours, tiny_clip().parameters(), strict=True))


def test_training_reduces_the_loss(tmp_path: Path) -> None:
    rows: list[dict[str, float]] = []
    first_task(tmp_path, settings(1, epochs=12), "finetune").fit(rows.append)
    assert sum(r["loss"] for r in rows[-4:]) < sum(r["loss"] for r in rows[:4])


def test_later_training_does_not_change_the_first_task_prototype(tmp_path: Path) -> None:
    trainer = second_task(tmp_path)
    before = trainer.model.task_prototypes[0].clone()
    trainer.fit(lambda row: None)
    assert torch.equal(trainer.model.task_prototypes[0], before)


def test_the_previous_teacher_encodes_captions_as_the_previous_model(tmp_path: Path) -> None:
    model, _ = trained_memory(tmp_path)
    trainer = second_task(tmp_path / "again")
    trainer.fit(lambda row: None)
    (teacher,) = trainer.teachers
    rows = torch.arange(len(trainer.captions.video))
    assert torch.equal(teacher.text(rows).words, encode_captions(model, trainer.captions.tokens, 1, CPU).words)


def test_the_previous_teacher_encodes_videos_as_the_previous_model(tmp_path: Path) -> None:
    model, _ = trained_memory(tmp_path)
    trainer = second_task(tmp_path / "again")
    trainer.fit(lambda row: None)
    (teacher,) = trainer.teachers
    with torch.no_grad():
        before = model.encode_frames(trainer.features.read(4, "view01")[None])[0]
    seen = teacher.frames(Pairs(torch.tensor([0]), torch.tensor([4]), torch.tensor([1])))
    torch.testing.assert_close(seen[0], before)


def test_the_pretrained_teacher_is_frozen_clip(tmp_path: Path) -> None:
    trainer = second_task(tmp_path, turned(settings(2), Crp, teacher="pretrained"))
    (teacher,) = trainer.teachers
    words = teacher.text(torch.tensor([0])).words[0, : int(trainer.captions.tokens.eot[0]) + 1]
    with torch.no_grad():
        frozen = tiny_clip().text(trainer.captions.tokens[torch.tensor([0])])[0]
    torch.testing.assert_close(words, frozen, rtol=1e-4, atol=1e-5)


def test_with_fresh_crops_the_teacher_is_the_previous_model_on_the_same_crops(tmp_path: Path) -> None:
    for number in (1, 2):
        write_features(tmp_path / f"features{number}", first=2 * (number - 1), views=0)
    trainer = second_task_of(tmp_path, "structalign")
    pairs = next(iter(batches(trainer.epoch(0), 3)))
    with torch.no_grad():
        states, shown = trainer.read(pairs)
        before = trainer.model.encode_frames(states)[shown]
    trainer.fit(lambda row: None)
    (teacher,) = trainer.teachers
    torch.testing.assert_close(teacher.frames(pairs), before)


@pytest.mark.parametrize("kind", ["previous", "pretrained"])
def test_if_padding_counts_the_teacher_encodes_the_student_s_batch(tmp_path: Path, kind: str) -> None:
    first, act = settings(1), turned(settings(2), Crp, teacher=kind)
    adapters = first.adapters.model_copy(update={"words": "with_padding"})
    finish_task(tmp_path, begin_task(tmp_path, "structalign", 1, replace(first, adapters=adapters)))
    trainer = begin_task(tmp_path, "structalign", 2, replace(act, adapters=adapters))
    rows = torch.tensor([4, 0, 2])
    tokens = trainer.captions.tokens[rows]
    with torch.no_grad(), trainer.model.frozen() if kind == "pretrained" else nullcontext():
        before = trainer.model.eval().encode_text(tokens, torch.ones(3, dtype=torch.int64))
    trainer.fit(lambda row: None)
    (teacher,) = trainer.teachers
    found = teacher.text(rows)
    assert torch.equal(found.mask, tokens.words_with_padding())
    torch.testing.assert_close(found.words, before.words)


ALL = torch.tensor([0, 3, 4])


def pairs_of(trainer: Trainer) -> Pairs:
    video = trainer.captions.video[ALL]
    return Pairs(ALL, video, video % 2)


@pytest.mark.parametrize(
    ("method", "task", "terms"),
    [
        ("structalign", 1, {"contrastive", "etf"}),
        ("structalign", 2, {"contrastive", "etf", "crp", "pseudo"}),
        ("finetune", 1, {"contrastive"}),
        ("finetune", 2, {"contrastive"}),
    ],
)
def test_a_task_has_its_losses(tmp_path: Path, method: str, task: int, terms: set[str]) -> None:
    trainer = (first_task if task == 1 else second_task)(tmp_path, None, method)
    assert set(trainer.losses(pairs_of(trainer), 0)) == terms


def test_the_etf_term_is_a_tenth_of_the_others(tmp_path: Path) -> None:
    trainer = second_task(tmp_path)
    terms = {name: value.item() for name, value in trainer.losses(pairs_of(trainer), 0).items()}
    assert terms["etf"] == pytest.approx(0.1 * (terms["contrastive"] + terms["crp"]), rel=1e-5)


def test_without_pseudo_features_the_etf_term_is_that_of_real_pairs(tmp_path: Path) -> None:
    trainer = second_task_of(tmp_path, "structalign")
    trainer.settings = turned(settings(2), Pseudo, weight=0.0)
    trainer.memory = replace(trainer.memory, text_mean=trainer.memory.text_mean * torch.nan)
    addends = trainer.losses(next(batches(trainer.epoch(0), 4)), 0, 2, 0)
    assert addends["etf"].isfinite()


def test_batches_are_read_ahead_in_their_order(tmp_path: Path) -> None:
    trainer = begin_task(tmp_path, "finetune", 1)
    plan = list(batches(trainer.epoch(0), 2))
    for pairs, expected in zip(trainer.reading_ahead(plan), plan, strict=True):
        assert pairs is expected
        states, shown = trainer.read(pairs)
        own = [trainer.features.read(int(v), view_name(int(w))) for v, w in zip(pairs.video, pairs.view, strict=True)]
        assert torch.equal(states[shown], torch.stack(own))


def test_a_video_that_cannot_be_read_ahead_stops_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(self: Features, video: int, view: str = CENTRE) -> Tensor:
        raise OSError("gone")

    trainer = begin_task(tmp_path, "finetune", 1)
    monkeypatch.setattr(Features, "stored", gone)
    with pytest.raises(OSError, match="gone"):
        list(trainer.reading_ahead(list(batches(trainer.epoch(0), 2))))


def test_replay_moves_every_expert_that_a_pass_of_the_step_chose(tmp_path: Path) -> None:
    """A step reads captions twice, the batch's and the remembered ones, which are routed as the first task."""
    trainer = second_task_of(tmp_path, "replay")
    adamw, mixtures = trainer.start(), trainer.model.mixtures()
    before = [[expert.clone() for expert in mixture.lora_Bs] for mixture in mixtures]
    trainer.step(adamw, 1.0, next(batches(trainer.epoch(0), 4)), 0, 2, 0)
    for mixture, experts in zip(mixtures, before, strict=True):
        moved = [not torch.equal(b, old) for b, old in zip(mixture.lora_Bs, experts, strict=True)]
        assert moved == mixture.used.tolist()
        assert sum(moved[1:]) > 0, "the batch's captions choose among all"


def test_the_relation_loss_is_zero_before_the_first_step(tmp_path: Path) -> None:
    # Task 2 begins with every expert equal to the first, so any routing gives the previous model.
    trainer = second_task(tmp_path)
    trainer.model.eval()
    assert trainer.losses(pairs_of(trainer), 0)["crp"].item() == pytest.approx(0, abs=1e-4)


@torch.no_grad()
def test_the_contrastive_term_is_that_of_each_caption_with_its_view(tmp_path: Path) -> None:
    trainer = first_task(tmp_path)
    trainer.model.eval()
    pairs = pairs_of(trainer)
    frames = torch.cat([
        trainer.model.encode_frames(trainer.features.read(int(v), f"view{int(w):02d}")[None])
        for v, w in zip(pairs.video, pairs.view, strict=True)
    ])  # fmt: skip
    text = encode_captions(trainer.model, trainer.captions.tokens, 1, CPU)[ALL]
    logits = 17.6 * word_frame(text.words, text.mask, frames)
    expected = losses.contrastive(logits, pairs.video)
    assert trainer.losses(pairs, 0)["contrastive"].item() == pytest.approx(expected.item(), rel=1e-4)


def test_without_the_mask_captions_of_one_video_are_negatives(tmp_path: Path) -> None:
    trainer = first_task(tmp_path, turned(settings(1), Contrastive, mask_duplicates=False))
    rows = torch.tensor([0, 1, 2])
    pairs = Pairs(rows, trainer.captions.video[rows], torch.zeros(3, dtype=torch.int64))
    assert pairs.video.tolist() == [0, 0, 1]
    torch.manual_seed(0)
    found = trainer.losses(pairs, 0)["contrastive"].item()
    trainer.model.eval()
    text, frames = trainer.embed(pairs)
    logits = 17.6 * word_frame(text.words, text.mask, frames)
    assert found == pytest.approx(losses.symmetric_cross_entropy(logits).item(), rel=1e-4)


def test_a_sentence_weight_adds_the_loss_on_sentence_similarity(tmp_path: Path) -> None:
    plain = first_task(tmp_path / "plain", settings(1))
    both = first_task(tmp_path / "both", turned(settings(1), Contrastive, sentence_weight=0.5))
    pairs = pairs_of(plain)
    text, frames = plain.embed(pairs)
    added = 0.5 * losses.contrastive(17.6 * sentence_video(text.sentence, frames), pairs.video)
    expected = plain.losses(pairs, 0)["contrastive"] + added
    assert both.losses(pairs, 0)["contrastive"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_every_step_is_logged(tmp_path: Path) -> None:
    trainer, rows = first_task(tmp_path, settings(1, epochs=3, batch=4)), list[dict[str, float]]()
    trainer.fit(rows.append)
    assert [row["step"] for row in rows] == list(range(6))  # three epochs of six videos, four and two at a time


def test_the_logged_loss_is_the_sum_of_its_terms(tmp_path: Path) -> None:
    rows: list[dict[str, float]] = []
    first_task(tmp_path).fit(rows.append)
    assert [r["loss"] for r in rows] == pytest.approx([r["contrastive"] + r["etf"] for r in rows])


def test_the_rate_of_a_step_follows_the_schedule(tmp_path: Path) -> None:
    rows: list[dict[str, float]] = []
    first_task(tmp_path, settings(1, epochs=5, warmup=0.3)).fit(rows.append)
    assert [r["lr"] for r in rows] == pytest.approx([1e-2 * schedule(k, len(rows), 0.3) for k in range(len(rows))])


def test_a_model_is_in_eval_mode_after_training(tmp_path: Path) -> None:
    assert not any(module.training for module in trained_memory(tmp_path)[0].modules())


def test_a_task_of_one_pair_is_refused(tmp_path: Path) -> None:
    features = write_features(tmp_path / "t01", videos=1, each=1)
    trainer = Trainer(tiny_model(), load_method("finetune"), features, fresh_memory(), 1, settings(1), CPU)
    with pytest.raises(UserError, match="fewer than two training pairs"):
        trainer.fit(lambda row: None)


@pytest.mark.parametrize("precision", ["tf32", "fp32"])
def test_steps_multiply_in_tf32_if_the_precision_is_tf32(tmp_path: Path, precision: str) -> None:
    act = settings(1)
    act = replace(act, backbone=act.backbone.model_copy(update={"precision": precision}))
    seen: list[bool] = []
    first_task(tmp_path, act).fit(lambda row: seen.append(torch.backends.cuda.matmul.allow_tf32))
    assert set(seen) == {precision == "tf32"}
    assert not torch.backends.cuda.matmul.allow_tf32


def test_where_the_device_runs_ahead_the_log_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[list[LogRow]] = [[], []]
    first_task(tmp_path).fit(found[0].append)
    monkeypatch.setattr("structalign.learning.trainer.ASYNCHRONOUS", ("cpu",))
    first_task(tmp_path).fit(found[1].append)
    assert found[0] == found[1]


def test_a_task_that_diverges_is_stopped(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="diverged at step"):
        first_task(tmp_path, settings(1, lr=100, epochs=9)).fit(lambda row: None)


def test_a_video_category_is_remembered_from_its_centre_views(tmp_path: Path) -> None:
    model, memory = trained_memory(tmp_path)
    features = Features(tmp_path / "t01")
    units = []
    for v in (1, 3, 5):
        mean = model.encode_frames(features.read(v, CENTRE)[None])[0].mean(dim=0).detach()
        units.append(mean / mean.norm())
    torch.testing.assert_close(memory.video_mean[1], torch.stack(units).mean(dim=0))


def test_a_text_category_is_remembered_from_its_words_without_padding(tmp_path: Path) -> None:
    model, memory = trained_memory(tmp_path)
    known = Features(tmp_path / "t01").captions()
    units = []
    for row in (known.category == 0).nonzero()[:, 0].tolist():
        words = encode_captions(model, known.tokens[torch.tensor([row])], 1, CPU).words[0]
        mean = words[1 : int(known.tokens.eot[row])].mean(dim=0)
        units.append(mean / mean.norm())
    torch.testing.assert_close(memory.text_mean[0], torch.stack(units).mean(dim=0))


def with_logit_adjustment(folder: Path, strength: float) -> Trainer:
    return first_task(folder, turned(settings(1), Contrastive, logit_adjustment=strength))


def test_logit_adjustment_of_equal_categories_changes_nothing(tmp_path: Path) -> None:
    plain, corrected = first_task(tmp_path), with_logit_adjustment(tmp_path, 1.0)
    pairs = pairs_of(plain)
    torch.testing.assert_close(corrected.losses(pairs, 0)["contrastive"], plain.losses(pairs, 0)["contrastive"])


def test_the_logit_adjustment_is_the_log_share_of_an_epochs_pairs(tmp_path: Path) -> None:
    trainer = with_logit_adjustment(tmp_path, 2.0)
    skewed = torch.where(trainer.captions.video > 0, 0, 1)
    trainer.captions = Captions(trainer.captions.tokens, trainer.captions.video, skewed)
    assert trainer._logit_adjustment().tolist() == pytest.approx([2 * math.log(5 / 6), 2 * math.log(1 / 6)])
