"""The benchmarks do the same work in all ways and store their results. Scale and paper take too long to test."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from typer.testing import CliRunner, Result

from benchmarks import made, plain, suffix
from benchmarks.__main__ import BENCHMARKS, app
from benchmarks.candidates import LAID, lay_once
from benchmarks.measuring import MatrixWork, Row, Way, in_turn
from benchmarks.ranking import made_scores
from benchmarks.similarity import embedded, list_of_words
from benchmarks.step import TOY, Ours
from benchmarks.table import as_comparison, as_table, keep, read
from structalign.errors import UserError
from structalign.evaluation.ranks import rank
from structalign.model.text_encoding import encode_captions
from structalign.params.ranking import Ranking
from structalign.search.scoring import score
from structalign.search.signal import Comparison
from structalign.search.similarity import word_frame

CPU, SIZE = torch.device("cpu"), made.TINY


def away_from_the_teacher(ours: Ours, training: plain.Training) -> None:
    source = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, p in ours.model.named_parameters():
            if p.requires_grad:
                p.add_(0.2 * torch.randn(p.shape, generator=source))
                training.weights[name].copy_(p)


@pytest.mark.parametrize("views", [0, 1])
@pytest.mark.parametrize("task", [1, 2])
def test_both_sides_of_a_step_have_equal_losses_and_gradient_norms(tmp_path: Path, task: int, views: int) -> None:
    ours = Ours(tmp_path, replace(TOY, batch=5, views=views), task)
    training = ours.plain_training()
    for mixture in ours.model.mixtures():
        mixture.dropout.p = 0.0
    ours.model.routing.noise = torch.zeros_like
    training.plan = replace(training.plan, dropout=0.0, noise=torch.zeros_like)
    away_from_the_teacher(ours, training)
    for number in range(2):  # the second is equal only if the updates were
        theirs, found = training.step(ours.plain_batch(number)), ours.step()
        assert {name: found[name] for name in theirs} == pytest.approx(theirs, rel=1e-2, abs=1e-5)


def test_a_batch_shows_each_video_once(tmp_path: Path) -> None:
    ours = Ours(tmp_path, TOY, 1)
    assert [sorted(ours.pairs(number).video.tolist()) for number in range(3)] == [[0, 1, 2]] * 3
    assert not set(ours.pairs(0).view.tolist()) & set(ours.pairs(1).view.tolist())


def test_all_similarities_are_those_of_pairs() -> None:
    text, frames = embedded(SIZE, 7, 5, 3)
    words = list_of_words(text.words, text.mask)
    pairs = torch.stack([torch.stack([plain.of_pair(w, video) for video in frames]) for w in words])
    found = score(Comparison(text, text, frames), {})
    similar = [plain.word_frame_by_pair(words, frames), plain.word_frame_by_caption(words, frames)]
    for other in [*similar, word_frame(text.words, text.mask, frames), found["words"]]:
        assert torch.allclose(other, pairs, atol=1e-6)
    assert torch.allclose(found["sentence"], plain.sentence_video(text.sentence, frames), atol=1e-6)


def test_both_sides_give_equal_ranks() -> None:
    scores, own, task = made_scores(40, 20)
    theirs = plain.rank(scores, own, task, 0.5)
    ours = rank([scores], own, [str(number) for number in task], Ranking(beta=0.5, task_prior=0))
    for name, places in theirs.items():
        assert np.array_equal(ours[name], places), name


def test_both_sides_encode_a_query_equally_as_every_task() -> None:
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


def test_matrix_work_is_counted_by_precision() -> None:
    half = torch.zeros(4, 5, dtype=torch.bfloat16)
    with MatrixWork() as counted:
        torch.zeros(2, 3) @ torch.zeros(3, 4)
        half.T @ half
    assert counted.flops == {torch.float32: 2 * 2 * 3 * 4, torch.bfloat16: 2 * 5 * 4 * 5}


def test_ways_run_in_turn_and_the_watched_call_of_a_short_one_does_not_count() -> None:
    calls: list[str] = []
    row = in_turn("row", {name: lambda name=name: calls.append(name) for name in "ab"}, repeats=2)  # type: ignore[misc]
    assert "".join(calls) == "ab" + "abab"
    assert [len(way.seconds) for way in row.ways] == [2, 2]


def test_a_table_compares_each_way_with_the_first_and_with_its_floor() -> None:
    rates = {"fp32": 100.0, "bf16": 200.0}
    row = Row(
        "step", [Way("plain", [9.0, 8.0, 7.0], 9, {"fp32": 400.0}), Way("ours", [2.0], 5, {"bf16": 200.0})], rates
    )
    table = as_table([row, Row("search", remark="not run: nothing is learned")])
    assert "| step | plain | 8 | 1.00 | 4 | 50% | 9 |" in table
    assert "|  | ours | 2 | 4.00 | 1 | 50% | 5 |" in table
    assert "| search | not run: nothing is learned |" in table
    assert "fp32 100 to 100, bf16 200 to 200" in table
    faster = replace(row, ways=[row.ways[0], replace(row.ways[1], seconds=[1.0])])
    assert "|  | ours | 2 | 1 | 2.00 | 8.00 | 100% |" in as_comparison([row], [faster])


def test_a_row_replaces_the_one_of_its_name(tmp_path: Path) -> None:
    for remark in ("first", "second"):
        keep(tmp_path / "kept.json", Row("row", remark=remark))
    keep(tmp_path / "kept.json", Row("other"))
    assert [(row.name, row.remark) for row in read(tmp_path / "kept.json")] == [("row", "second"), ("other", "")]


def test_an_unknown_benchmark_is_refused_before_any_runs() -> None:
    done = CliRunner().invoke(app, ["run", "similarity", "simliarity"])
    assert isinstance(done.exception, UserError)
    assert "no benchmark simliarity" in str(done.exception)


@pytest.fixture
def environment_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OMP_NUM_THREADS", "STRUCTALIGN_THREADS", "STRUCTALIGN_DEVICE"):
        monkeypatch.setenv(name, "1")  # put back at the end whatever `run` makes of them


@pytest.mark.usefixtures("environment_as_it_was")
@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_benchmark_stores_its_rows(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["run", name, "--toy", "--json", "kept.json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    rows = read(tmp_path / "kept.json")
    assert rows
    for row in rows:
        assert all(min(way.seconds) > 0 for way in row.ways)
        assert row.rates.keys() == ({"fp32", "bf16"} if row.ways else set())
        assert row.ways or "not run: " in row.remark
        assert row.name in done.output


ALONE = {
    "search": ["--videos", "50", "--stored", "50", "--queries", "70", "--agree", "2", "--repeats", "1", "--toy"],
    "graph": ["--videos", "50", "--queries", "2"],
    "suffix": ["--videos", "1", "--frames", "2", "--repeats", "1", "--toy"],
    "head-only": ["--tasks", "2", "--epochs", "1", "--videos", "40", "--shown", "40", "--frames", "2", "--toy"],
}


@pytest.mark.parametrize("command", ALONE)
def test_a_command_without_a_plain_side_stores_its_results_and_the_machine(command: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, [command, *ALONE[command], "--json", str(tmp_path / "kept.json")])
    assert done.exit_code == 0, done.output
    assert json.loads((tmp_path / "kept.json").read_text())["machine"]["cores"] >= 1


def test_a_kept_project_is_used_again_only_with_its_number_and_seed_of_videos(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    asked = ["graph", "--queries", "1", "--folder", str(folder), "--json", str(tmp_path / "kept.json")]

    def run(videos: int, seed: int) -> Result:
        return CliRunner().invoke(app, [*asked, "--videos", str(videos), "--seed", str(seed)])

    for _ in range(2):
        assert run(50, 1).exit_code == 0
    for videos, seed in ((50, 2), (40, 1)):
        refused = run(videos, seed).exception
        assert isinstance(refused, UserError)
        assert "was made with --videos 50 --seed 1" in str(refused)
    (folder / LAID).unlink()
    with pytest.raises(UserError, match="no finished project"):
        lay_once(folder, 50, 1)


def test_the_graph_benchmark_names_what_installs_qdrant_s_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "benchmarks.edge_client", raising=False)
    monkeypatch.setitem(sys.modules, "qdrant_edge", None)
    done = CliRunner().invoke(app, ["graph"])
    assert isinstance(done.exception, UserError)
    assert str(done.exception) == "qdrant_edge is not installed: run `pip install 'structalign[test]'`."
