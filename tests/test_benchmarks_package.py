"""The benchmarks measure the same work on both sides, and their commands run (scale and paper take too long here)."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from typer.testing import CliRunner

from benchmarks import made, plain, suffix
from benchmarks.__main__ import app
from benchmarks.similarity import embedded, list_of_words
from benchmarks.step import Sides
from structalign.model.text_encoding import encode_captions
from structalign.search.scoring import score
from structalign.search.signal import Comparison
from structalign.search.similarity import word_frame

CPU, SIZE = torch.device("cpu"), made.TINY


def away_from_the_teacher(sides: Sides) -> None:
    source = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, p in sides.trainer.model.named_parameters():
            if p.requires_grad:
                p.add_(0.2 * torch.randn(p.shape, generator=source))
                sides.training.weights[name].copy_(p)


@pytest.mark.parametrize("task", [1, 2])
def test_both_sides_of_a_step_have_equal_losses_and_gradient_norms(tmp_path: Path, task: int) -> None:
    sides = Sides(tmp_path, SIZE, task, 6, 3, 4, 3, "fp32", CPU)
    for mixture in sides.trainer.model.mixtures():
        mixture.dropout.p = 0.0
    sides.trainer.model.routing.noise = torch.zeros_like
    sides.training.plan = replace(sides.training.plan, dropout=0.0, noise=torch.zeros_like)
    away_from_the_teacher(sides)
    for number in range(2):  # the second is equal only if the updates were
        pairs = sides.pairs(number)
        theirs = sides.training.step(sides.plain_batch(pairs, 0, task, number))
        ours = sides.trainer.step(sides.adamw, 1.0, pairs, 0, task, number)
        assert {name: ours[name] for name in theirs} == pytest.approx(theirs, rel=1e-2, abs=1e-5)


def test_both_similarities_are_those_of_loops() -> None:
    text, frames = embedded(SIZE, 7, 5, 3, CPU)
    words = list_of_words(text.words, text.mask)
    assert torch.allclose(word_frame(text.words, text.mask, frames), plain.word_frame(words, frames), atol=1e-6)
    assert torch.allclose(plain.word_frame_by_pair(words, frames), plain.word_frame(words, frames), atol=1e-6)
    found = score(Comparison(text, text, frames), {})
    assert torch.allclose(found["words"], plain.word_frame(words, frames), atol=1e-6)
    assert torch.allclose(found["sentence"], plain.sentence_video(text.sentence, frames), atol=1e-6)


def test_both_sides_encode_a_query_alike_as_every_task() -> None:
    model, _ = made.model_for(made.random_clip(SIZE), SIZE, "structalign", made.settings(SIZE, 3, 4, "fp32"), 3, 3)
    tokens = made.captions(SIZE, 9)
    plan = made.plan_of(model, SIZE)
    theirs = plain.encode_captions(plain.weights_of(model), plan, tokens.ids, tokens.eot, range(1, 4), batch=4)
    for task, (words, sentence) in enumerate(theirs, start=1):
        ours = encode_captions(model, tokens, task, CPU)
        assert torch.allclose(ours.sentence, sentence, atol=1e-5)
        for mine, other in zip(list_of_words(ours.words, ours.mask), words, strict=True):
            assert torch.allclose(mine, other, atol=1e-5)


@pytest.mark.parametrize("backward", [False, True])
def test_the_suffix_formula_counts_what_torch_counts(backward: bool) -> None:
    model = suffix.learning_model(SIZE, frames=3)
    states = made.pixels(SIZE, 1, 1).new_zeros(2, 3, model.clip.vision_positions, SIZE.vision[0])
    with FlopCounterMode(display=False) as counter:
        if backward:
            suffix.run_both(model, states, CPU)
        else:
            model.encode_frames(states)
    assert counter.get_total_flops() == 6 * suffix.flops(SIZE, backward)


def test_captions_are_as_long_as_those_of_msrvtt() -> None:
    length = made.captions(made.VIT_B_32, 2000).eot + 1.0
    assert 11 < float(length.mean()) < 13
    assert int(length.min()) >= 6
    assert int(length.max()) <= 30


COMMANDS = {
    "step": ["--batch", "4", "--frames", "2", "--videos", "4", "--each", "2", "--repeats", "1", "--tiny"],
    "similarity": ["--batch", "3", "--queries", "4", "--videos", "3", "--frames", "2", "--repeats", "1", "--tiny"],
    "queries": ["--captions", "5", "--prototypes", "2", "--repeats", "1", "--tiny"],
    "loading": ["--videos", "2", "--frames", "2", "--height", "48", "--repeats", "1", "--tiny"],
    "suffix": ["--videos", "1", "--frames", "2", "--repeats", "1", "--tiny"],
    "head-only": ["--tasks", "2", "--epochs", "1", "--videos", "40", "--shown", "40", "--frames", "2", "--tiny"],
    "decoding": ["--seconds", "2", "--height", "48", "--frames", "2", "--size", "16", "--repeats", "1"],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_writes_a_ratio_and_a_goal(command: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, [command, *COMMANDS[command], "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    found = json.loads((tmp_path / f"{command}.json").read_text())
    rows = found["rows"] or found["shares"]
    assert all(row["ratio"] > 0 and row["goal"] > 0 for row in rows)
    assert found["machine"]["threads"] >= 1
