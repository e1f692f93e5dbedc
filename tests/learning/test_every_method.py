"""Every registered method trains two tasks in the common loop, and its checkpoint is complete."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny import CPU, begin_task, finish_task, second_task_of, settings, tiny_clip, write_features
from torch import Tensor

from structalign.learning.loading import load_method
from structalign.learning.memory import Memory, memory_of
from structalign.learning.optimizer import optimizer
from structalign.learning.trainer import Trainer
from structalign.model.checkpoint import build_model, load_memory, read_config
from structalign.model.text_encoding import encode_captions
from structalign.model.video_text import VideoText
from structalign.params.method import METHODS
from structalign.search.scoring import score
from structalign.search.signal import Comparison
from structalign.search.similarity_heads import HEADS

LEARN = [name for name in METHODS if load_method(name).trains]
REMEMBERED = {
    **{
        name: {"text_mean", "text_radius", "text_count"}
        for name in ("structalign", "structalign_released", "head_only")
    },
    "stablefusion": {"videos"},
    "replay": {"pair_states", "pair_ids", "pair_eot", "pair_task"},
}
every_method = pytest.mark.parametrize("method", LEARN)


def similarities(model: VideoText, trainer: Trainer) -> dict[str, Tensor]:
    """Scores of all captions and all videos of the trainer's task, as retrieval computes them."""
    with torch.inference_mode():
        states = [trainer.features.read(i) for i in range(len(trainer.features))]
        head = HEADS[trainer.method.similarity]
        stored = head.store(torch.cat([model.encode_frames(state[None]) for state in states]))
        text = encode_captions(model, trainer.captions.tokens, trainer.number, CPU)
        return score(Comparison(text, text, stored, head, model), {})


@every_method
def test_a_checkpoint_of_two_tasks_scores_with_the_bits_of_the_model_that_was_saved(
    tmp_path: Path, method: str
) -> None:
    trainer = finish_task(tmp_path, second_task_of(tmp_path, method))
    loaded = build_model(tiny_clip(), read_config(tmp_path / "2"), tmp_path / "2")
    assert loaded is not None
    expected, found = similarities(trainer.model, trainer), similarities(loaded, trainer)
    assert all(torch.equal(found[name], matrix) for name, matrix in expected.items())


@every_method
def test_training_a_task_changes_the_similarities(tmp_path: Path, method: str) -> None:
    trainer = begin_task(tmp_path, method, 1)
    before = similarities(trainer.model, trainer)["sentence"]
    trainer.fit(lambda row: None)
    assert not torch.allclose(similarities(trainer.model, trainer)["sentence"], before, atol=1e-5)


@pytest.mark.parametrize("method", [name for name in LEARN if name != "xpool"])
def test_an_untrained_model_ranks_as_zero_shot_clip(tmp_path: Path, method: str) -> None:
    """Not X-Pool, whose pooling weights frames from the start."""
    trainer = begin_task(tmp_path, method, 1)
    before = similarities(trainer.model, trainer)["sentence"]
    with trainer.model.frozen():
        torch.testing.assert_close(similarities(trainer.model, trainer)["sentence"], before)


@every_method
@pytest.mark.parametrize("words", ["strict", "with_padding"])
def test_two_tasks_are_learned_from_fresh_crops(tmp_path: Path, method: str, words: str) -> None:
    for number in (1, 2):
        write_features(tmp_path / f"features{number}", first=2 * (number - 1), views=0)
        act = settings(number)
        changed = act.adapters.model_copy(update={"words": words})
        trainer = begin_task(tmp_path, method, number, replace(act, adapters=changed))
        before = {name: x.clone() for name, x in trainer.model.adapter_state().items()}
        finish_task(tmp_path, trainer)
        assert any(not torch.equal(x, before[name]) for name, x in trainer.model.adapter_state().items())


@every_method
@pytest.mark.parametrize("number", [1, 2])
def test_everything_that_learns_is_in_one_group_and_gets_a_gradient(tmp_path: Path, method: str, number: int) -> None:
    act = settings(number, epochs=4, batch=2, epoch="captions")
    trainer = begin_task(tmp_path, method, 1, act) if number == 1 else second_task_of(tmp_path, method, act)
    adamw = optimizer(trainer.model, trainer.method.trains, number, act.shared, act.phase)
    grouped = [p for group in adamw.param_groups for p in group["params"]]
    learning = {name: p for name, p in trainer.model.named_parameters() if p.requires_grad}
    assert sorted(map(id, grouped)) == sorted(map(id, learning.values()))
    reached = set[str]()

    def watch(name: str, p: Tensor) -> None:
        def note(gradient: Tensor) -> None:
            if gradient.abs().max() > 1e-9:
                reached.add(name)

        p.register_hook(note)  # type: ignore[no-untyped-call]

    for name, p in learning.items():
        watch(name, p)
    trainer.fit(lambda row: None)
    # a key's bias adds one number to all logits of a softmax
    assert {name for name in learning if not name.endswith("k_proj.bias")} - reached == set()


@every_method
def test_a_resumed_task_ends_in_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    monkeypatch.setenv("STRUCTALIGN_SAVE_SECONDS", "0")
    act = settings(2, epochs=4)
    whole = second_task_of(tmp_path, method, act)
    whole.fit(lambda row: None)
    kept = tmp_path / "kept"
    kept.mkdir()

    def stop(row: dict[str, float]) -> None:
        if row["step"] == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        begin_task(tmp_path, method, 2, act).fit(stop, kept)
    again, rows = begin_task(tmp_path, method, 2, act), list[dict[str, float]]()
    again.fit(rows.append, kept)
    assert [row["step"] for row in rows] == list(range(len(rows)))
    expected, found = whole.model.adapter_state(), again.model.adapter_state()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    remembered, kept_memory = whole.remember(2).tensors(), again.remember(2).tensors()
    assert all(torch.equal(kept_memory[name], tensor) for name, tensor in remembered.items())


@every_method
def test_a_checkpoint_remembers_what_its_method_needs_and_the_simplex(tmp_path: Path, method: str) -> None:
    finish_task(tmp_path, begin_task(tmp_path, method, 1))
    held = set(load_memory(tmp_path / "1")) - {"vertices"}
    wanted = REMEMBERED.get(method, set())
    sides = wanted | {name.replace("text_", "video_") for name in wanted}
    assert held == sides


def remembered(folder: Path, method: str) -> tuple[Memory, Memory]:
    """The memory's contents after one task and after two."""
    finish_task(folder, second_task_of(folder, method))
    first, second = (memory_of(load_memory(folder / number)) for number in "12")
    return first, second


def test_stablefusion_stores_one_unit_vector_of_every_training_video(tmp_path: Path) -> None:
    first, second = remembered(tmp_path, "stablefusion")
    assert [len(memory.extra["videos"]) for memory in (first, second)] == [6, 12]
    assert torch.equal(second.extra["videos"][:6], first.extra["videos"])
    torch.testing.assert_close(second.extra["videos"].norm(dim=1), torch.ones(12))


def test_replay_stores_two_pairs_of_every_category_and_their_task(tmp_path: Path) -> None:
    first, second = remembered(tmp_path, "replay")
    assert [len(memory.extra["pair_states"]) for memory in (first, second)] == [4, 8]
    assert second.extra["pair_task"].tolist() == [1] * 4 + [2] * 4
    assert torch.equal(second.extra["pair_states"][:4], first.extra["pair_states"])


def test_a_stored_pair_is_a_training_video_with_one_of_its_captions(tmp_path: Path) -> None:
    trainer = finish_task(tmp_path, begin_task(tmp_path, "replay", 1))
    past, captions = load_memory(tmp_path / "1"), trainer.captions
    states = [trainer.features.read(v).half() for v in range(len(trainer.features))]
    for held, ids, eot in zip(past["pair_states"], past["pair_ids"], past["pair_eot"], strict=True):
        (video,) = (v for v, state in enumerate(states) if torch.equal(state, held))
        own = captions.tokens.ids[captions.video == video]
        assert any(torch.equal(row[: int(eot) + 1], ids[: int(eot) + 1]) for row in own)
