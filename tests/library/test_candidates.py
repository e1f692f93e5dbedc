"""Candidates and exact ranking agree, with filters and a bonus of a task, too."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.clustered import captions, clusters
from benchmarks.search import store
from structalign.library.candidates import Asked, Finder
from structalign.library.engines.scan import Block, Scan
from structalign.library.entries import Entries, Entry, Filters, Floats
from structalign.library.folder_index import FolderIndex
from structalign.library.limits import FIRST
from structalign.library.ranking import Ranked, Span, hits, hits_among
from structalign.model.video_text import TextEmbeddings
from structalign.search.candidates import mean_words, unit_sentences
from structalign.search.fusion import fuse
from structalign.search.similarity import sentence_cosines, video_vectors, word_frame

TASKS, VIDEOS, FRAMES, WORDS, DIM = 4, 1000, 6, 8, 64
WEIGHTS = {"words": 0.5, "sentence": 0.5, "task_prior": 1.0}
Captions = list[tuple[int, list[TextEmbeddings]]]


class Gallery:
    """Clustered videos of several tasks. rare: the category of one video."""

    def __init__(self) -> None:
        self.made = clusters(TASKS, DIM)
        self.frames = [self.made.videos(task, 0, VIDEOS, FRAMES) for task in range(TASKS)]
        vectors = [video_vectors(frames).numpy() for frames in self.frames]
        rows = [
            Entry(f"{task}-{i}", f"{task}-{i // 2}", f"/{task}/{i}.mp4", 0.0, 1.0, [0.5], 1.0,
                  category="rare" if (task, i) == (3, 77) else "common", task=f"t{task}")
            for task in range(TASKS) for i in range(VIDEOS)
        ]  # fmt: skip
        self.entries = Entries(rows, np.concatenate(vectors))
        blocks = [Block(task, part) for task, part in enumerate(vectors)]
        self.finder = Finder(self.entries, blocks, WEIGHTS, Scan(self.entries, blocks))
        self.captions: Captions = list(captions(self.made, 40, VIDEOS, WORDS))

    def signals(self, text: Sequence[TextEmbeddings], bonus: Sequence[float]) -> dict[str, Tensor]:
        """Each signal [1, V] of all videos."""
        pairs = list(zip(text, self.frames, strict=True))
        return {
            "words": torch.cat([word_frame(own.words, own.mask, frames) for own, frames in pairs], dim=1),
            "sentence": torch.cat([sentence_cosines(own.sentence, video_vectors(f)) for own, f in pairs], dim=1),
            "task_prior": torch.tensor(bonus).repeat_interleave(VIDEOS)[None],
        }

    def exact(self, text: Sequence[TextEmbeddings], bonus: Sequence[float], words: bool = True) -> Floats:
        found = {name: matrix.numpy() for name, matrix in self.signals(text, bonus).items()}
        if not words:
            del found["words"]
        if not any(bonus):
            del found["task_prior"]
        scores: Floats = fuse(found, WEIGHTS)[0]
        return scores

    def asked(self, text: Sequence[TextEmbeddings], bonus: Sequence[float], words: bool = True) -> Asked:
        found = {name: matrix.numpy()[0] for name, matrix in self.signals(text, bonus).items()}
        if not words:
            del found["words"]
        if not any(bonus):
            del found["task_prior"]

        def compare(places: Sequence[int]) -> tuple[dict[str, Floats], Span]:
            return {name: row[list(places)] for name, row in found.items()}, lambda place: (0.0, 1.0, 0.5)

        def of_sample() -> dict[str, Floats]:
            return compare(self.finder.sample[0])[0]

        return Asked(unit_sentences(text), mean_words(text) if words else None, bonus, compare, of_sample)

    def ranked(
        self, text: Sequence[TextEmbeddings], bonus: Sequence[float], filters: Filters, k: int = FIRST
    ) -> Ranked:
        return self.finder.ranked(self.asked(text, bonus), k, filters)


@pytest.fixture(scope="module")
def gallery() -> Gallery:
    return Gallery()


NONE = [0.0] * TASKS


def test_the_top_ten_agree_with_exact_ranking(gallery: Gallery) -> None:
    shared, first = [], []
    for _, text in gallery.captions:
        best = np.argsort(-gallery.exact(text, NONE), kind="stable")[:10].tolist()
        found = list(gallery.ranked(text, NONE, Filters()).scores)[:10]
        shared.append(len(set(best) & set(found)) / 10)
        first.append(best[0] == found[0])
    assert np.mean(shared) >= 0.99
    assert np.mean(first) >= 0.98


def test_a_score_of_a_candidate_is_nearly_that_of_exact_ranking(gallery: Gallery) -> None:
    text = gallery.captions[0][1]
    exact = gallery.exact(text, NONE)
    found = gallery.ranked(text, NONE, Filters())
    assert list(found.scores.values()) == pytest.approx(exact[list(found.scores)].tolist(), abs=0.1)
    assert found.usual == pytest.approx((exact.mean(), exact.std()), abs=0.05)


def test_the_bonus_of_a_task_acts_when_candidates_are_chosen(gallery: Gallery) -> None:
    text = gallery.captions[0][1]
    found = gallery.ranked(text, [0.0, 0.0, 50.0, 0.0], Filters())
    assert {gallery.entries.rows[place].task for place in found.scores} == {"t2"}
    best = np.argsort(-gallery.exact(text, [0.0, 0.0, 50.0, 0.0]), kind="stable")[:10].tolist()
    assert len(set(best) & set(list(found.scores)[:10])) >= 9


def test_a_method_that_ranks_by_one_cosine_has_equal_scores_and_order(gallery: Gallery) -> None:
    text = gallery.captions[1][1]
    exact = gallery.exact(text, NONE, words=False)
    found = gallery.finder.ranked(gallery.asked(text, NONE, words=False), 50, Filters())
    assert list(found.scores) == np.argsort(-exact, kind="stable")[:50].tolist()
    assert list(found.scores.values()) == pytest.approx(exact[list(found.scores)].tolist(), abs=1e-6)


@pytest.mark.parametrize("filters", [Filters(category="rare"), Filters(folder="/3"), Filters(task="t1")])
def test_a_filter_acts_before_candidates_are_chosen(gallery: Gallery, filters: Filters) -> None:
    text = gallery.captions[0][1]
    found = list(gallery.ranked(text, NONE, filters).scores)
    assert all(filters.admits(gallery.entries.rows[place]) for place in found)
    assert len(found) == (1 if filters.category else FIRST)
    admitted = [place for place in np.argsort(-gallery.exact(text, NONE), kind="stable").tolist()
                if filters.admits(gallery.entries.rows[place])]  # fmt: skip
    assert found[0] == admitted[0]


def test_a_filter_that_admits_nothing_gives_nothing(gallery: Gallery) -> None:
    assert gallery.ranked(gallery.captions[0][1], NONE, Filters(category="none")).scores == {}


def test_hits_among_candidates_are_those_of_exact_ranking(gallery: Gallery) -> None:
    text = gallery.captions[2][1]
    exact = gallery.exact(text, NONE)
    span = gallery.asked(text, NONE).compare([0])[1]
    best = hits(gallery.entries, exact, exact, span, Filters(), 5)
    found = hits_among(gallery.entries, gallery.ranked(text, NONE, Filters()), 5)
    assert [hit.file for hit in found] == [hit.file for hit in best]
    assert [hit.above for hit in found] == pytest.approx([hit.above for hit in best], abs=0.1)


def test_a_file_s_moments_are_among_the_candidates(gallery: Gallery) -> None:
    ranked = gallery.ranked(gallery.captions[0][1], NONE, Filters())
    one = next(iter(ranked.scores))
    alone = replace(ranked, scores={one: 1.0}, similarity={one: 0.5})
    (hit,) = hits_among(gallery.entries, alone, 10)
    assert [moment.id for moment in hit.moments] == [gallery.entries.rows[one].id]


def test_the_scan_gives_the_earlier_of_equal_videos() -> None:
    same = F.normalize(torch.ones(300, 8), dim=-1).numpy()
    entries = Entries([Entry(str(i), str(i), str(i), 0, 1, [0], 1) for i in range(300)], same)
    scan = Scan(entries, [Block(0, same[:200]), Block(1, same[200:])])
    queries = np.ones((2, 8), np.float32)
    assert scan.find(queries, [0.0, 0.0], 5, Filters()) == ["0", "1", "2", "3", "4"]
    assert scan.find(queries, [0.0, 1.0], 2, Filters()) == ["200", "201"]
    assert len(scan.find(queries, [0.0, 0.0], 1000, Filters())) == 300


def test_more_candidates_are_ranked_until_there_are_enough_files_but_2000_at_most(tmp_path: Path) -> None:
    store(tmp_path / "index", 2500, 8)
    index = FolderIndex(tmp_path / "index")
    index._encoded["anything"] = np.asarray(index.entries.means[0])
    ranked = []
    for top in (24, 200, 201, 900, 2500):
        found = index.results("anything", top, mode="candidates")
        ranked.append((len(found.hits), found.candidates, found.more))
    assert ranked == [(24, 200, True), (200, 200, True), (201, 400, True), (900, 1600, True), (2000, 2000, False)]
    found = index.results("anything", 300, mode="candidates", candidates=200)
    assert (len(found.hits), found.candidates, found.more) == (200, 200, True)
