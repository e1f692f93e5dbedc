"""Scores that are stored, and scores that are too large and ranked at once, give the same metrics."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny import CPU, FRAMES, noise, shaken, tiny_model, tokens

from stages import evaluate
from structalign.errors import UserError
from structalign.evaluation.score_files import bytes_a_pair, keep_scores, queries_at_once
from structalign.params.ranking import Ranking
from structalign.search.encoder import Encoder
from structalign.search.index import Gallery
from structalign.search.scoring import QUERIES, score_in_blocks
from structalign.search.signals.task_prior import TaskPrior
from structalign.search.signals.word_prior import WordPrior
from structalign.search.similarity_heads import HEADS
from structalign.store import write_json

TASKS, VIDEOS, ASKED = ("t01", "t02"), 40, 3 * QUERIES - 20
DIM = 24
VIDEO_TASKS = [task for task in TASKS for _ in range(VIDEOS)]
GROUND_TRUTH = [7 * q % len(VIDEO_TASKS) for q in range(ASKED)]
RANKING = Ranking(beta=0.3, task_prior=0.1, word_prior=0.1)
TASK_OF, KNOWN = torch.tensor([1, 1, 2]), torch.arange(0, 38, 2)
STATES = {
    "task_prior": TaskPrior(noise(DIM, 3).double(), noise(3).double(), TASK_OF, KNOWN),
    "word_prior": WordPrior(KNOWN, noise(len(KNOWN), 3).double(), TASK_OF),
}

Evaluated = Callable[[int], tuple[str, set[str]]]


def shaken_encoder() -> Encoder:
    model = shaken(tiny_model(tasks=2))
    return Encoder(model.clip, model, HEADS["fused"], CPU)


@pytest.fixture(scope="module")
def galleries() -> list[Gallery]:
    unit = [torch.nn.functional.normalize(noise(VIDEOS, FRAMES, DIM, seed=seed), dim=-1) for seed in range(4)]
    rows = [[{"id": f"{task}-{v}", "times": [0] * FRAMES} for v in range(VIDEOS)] for task in TASKS]
    return [Gallery(task, i + 1, i + 1, rows[i], unit[i], unit[2 + i]) for i, task in enumerate(TASKS)]


@pytest.fixture
def evaluated(galleries: list[Gallery], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Evaluated:
    """Score and evaluate some queries at a time. Returns the report and the score files."""
    source = torch.Generator().manual_seed(0)
    captions = [torch.randint(38, (1 + q % 6,), generator=source).tolist() for q in range(ASKED)]
    encoder = shaken_encoder()

    def run(at_once: int) -> tuple[str, set[str]]:
        root = tmp_path / str(at_once)
        folder = root / "work/scores/t02"
        folder.mkdir(parents=True)
        monkeypatch.chdir(root)
        (root / "params.yaml").write_text(
            "ranking: {beta: 0.3, task_prior: 0.1, word_prior: 0.1}\nreference: {zero_shot: 14.0, categories: 1}"
        )
        rows = [{"id": f"v{v}", "file": f"v{v}.mp4", "task": task, "category": v} for v, task in enumerate(VIDEO_TASKS)]
        queries = [
            {"text": f"q{q}", "video": f"v{v}", "task": VIDEO_TASKS[v], "category": v}
            for q, v in enumerate(GROUND_TRUTH)
        ]
        write_json(folder / "test.json", {"queries": queries, "videos": rows})
        write_json(folder / "val.json", {"queries": [], "videos": []})
        write_json(folder / "sizes.json", {"trained_parameters": 1, "stored_bytes_per_video": 1})
        own_tasks = [VIDEO_TASKS[v] for v in GROUND_TRUTH]
        words = tokens(*captions)
        with torch.inference_mode():
            blocks = score_in_blocks(encoder, words, own_tasks, galleries, STATES, "score", at_once)
            keep_scores(folder, "test", blocks, GROUND_TRUTH, VIDEO_TASKS, RANKING if at_once < ASKED else None)
        evaluate.main("t02")
        return (root / "reports/eval/t02.json").read_text(), {file.name for file in folder.iterdir()}

    return run


def test_ranking_block_by_block_gives_the_same_report_as_stored_scores(evaluated: Evaluated) -> None:
    kept, files = evaluated(ASKED)
    ranked, others = evaluated(QUERIES)
    assert json.loads(ranked) == json.loads(kept)
    assert files - others == {"test.safetensors"}
    assert others - files == {"test.ranks.safetensors"}


def test_a_querys_scores_do_not_depend_on_its_block(galleries: list[Gallery], tmp_path: Path) -> None:
    encoder, captions = shaken_encoder(), tokens(*[[1 + q % 30] * (1 + q % 5) for q in range(ASKED)])
    own_tasks = [VIDEO_TASKS[v] for v in GROUND_TRUTH]
    with torch.inference_mode():
        whole, parts = (
            list(score_in_blocks(encoder, captions, own_tasks, galleries, STATES, "score", size))
            for size in (ASKED, QUERIES)
        )
    assert len(parts) == 3
    for name, values in whole[0][0].items():
        assert torch.equal(torch.cat([part[0][name] for part in parts]), values), name
    assert torch.equal(torch.cat([part[1] for part in parts]), whole[0][1])


def test_stored_matrices_have_one_row_for_each_query(evaluated: Evaluated, tmp_path: Path) -> None:
    evaluated(ASKED)
    scores = load_file(tmp_path / str(ASKED) / "work/scores/t02/test.safetensors")
    assert {name: tuple(x.shape) for name, x in scores.items()} == dict.fromkeys(
        (
            *(f"{one}.{kind}" for one in ("method", "zero_shot") for kind in ("words", "sentence")),
            *STATES,
            "best_frame",
        ),
        (ASKED, len(VIDEO_TASKS)),
    )


def test_the_limit_counts_the_bytes_of_every_matrix(evaluated: Evaluated, tmp_path: Path) -> None:
    evaluated(ASKED)
    scores = load_file(tmp_path / str(ASKED) / "work/scores/t02/test.safetensors")
    assert sum(x.element_size() for x in scores.values()) == bytes_a_pair()


def test_scores_that_fit_are_computed_at_once() -> None:
    assert queries_at_once(500, 1000) == 500


def test_scores_that_do_not_fit_are_computed_in_blocks_of_whole_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRUCTALIGN_SCORES_MIB", "1")
    assert queries_at_once(1000, 300) == 2 * QUERIES
    assert queries_at_once(1000, 10**6) == QUERIES


@pytest.mark.parametrize("told", ["0", "much", "-1", "9" * 5000])
def test_an_invalid_limit_is_refused(told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRUCTALIGN_SCORES_MIB", told)
    with pytest.raises(UserError, match=rf"STRUCTALIGN_SCORES_MIB={told[:80]}\S* is not a number of MiB"):
        queries_at_once(10, 10)
