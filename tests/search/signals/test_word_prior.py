"""The bag-of-words prior is naive Bayes over token ids."""

import math
from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from structalign.model.video_text import TextEmbeddings
from structalign.search.priors import score
from structalign.search.signal import Comparison
from structalign.search.signals.word_prior import WordPrior, observe, state

Captions = list[tuple[int, list[int]]]  # a category and the token ids of a caption

CAPTION = st.lists(st.integers(0, 6), min_size=1, max_size=4)
TASKS = st.lists(st.lists(st.tuples(st.integers(0, 1), CAPTION), min_size=1, max_size=5), min_size=1, max_size=3)


def said(captions: list[list[int]]) -> TextEmbeddings:
    """Captions of these token ids."""
    ids = torch.full((len(captions), max(map(len, captions))), -1)
    for row, words in enumerate(captions):
        ids[row, : len(words)] = torch.tensor(words)
    return TextEmbeddings(torch.zeros(*ids.shape, 2), ids >= 0, torch.zeros(len(ids), 2), ids)


def learned(tasks: list[Captions]) -> WordPrior:
    """The prior after tasks, whose categories are numbered on."""
    observed = [
        observe(said([words for _, words in task]), torch.tensor([2 * number + own for own, _ in task]), number)
        for number, task in enumerate(tasks, start=1)
    ]
    found = state(observed)
    assert found is not None
    return found


def by_loops(tasks: list[Captions], words: list[int]) -> list[float]:
    """p(task | caption) from the definition."""
    vocabulary = {word for task in tasks for _, caption in task for word in caption}
    known = [word for word in words if word in vocabulary]
    share = []
    for task in tasks:
        total = 0.0
        for category in {own for own, _ in task}:
            count = Counter(word for own, caption in task if own == category for word in caption)
            total += math.prod((count[word] + 1) / (count.total() + len(vocabulary)) for word in known)
        share.append(total)
    return [one / sum(share) for one in share]


@given(TASKS, CAPTION)
def test_the_probability_of_a_task_is_that_of_naive_bayes_by_loops(tasks: list[Captions], words: list[int]) -> None:
    vocabulary = {word for task in tasks for _, caption in task for word in caption}
    expected = by_loops(tasks, words) if vocabulary & {*words} else [1 / len(tasks)] * len(tasks)
    assert learned(tasks).log(said([words]))[0].exp().tolist() == pytest.approx(expected, rel=1e-5)


@given(TASKS)
def test_a_caption_without_a_known_word_has_the_uniform_distribution(tasks: list[Captions]) -> None:
    found = learned(tasks).log(said([[7], [8, 9]]))
    assert torch.equal(found, torch.full((2, len(tasks)), -math.log(len(tasks))))


def test_an_unknown_word_beside_known_ones_changes_nothing() -> None:
    prior = learned([[(0, [1, 2])], [(0, [2, 3])]])
    known, beside = prior.log(said([[1, 2, 2], [1, 2, 2]])), prior.log(said([[1, 9, 2, 2], [9, 1, 2, 2]]))
    assert torch.equal(known, beside)


def test_a_word_of_one_task_alone_speaks_for_it() -> None:
    first, second = learned([[(0, [1, 2])], [(0, [2, 3])]]).log(said([[1], [3]])).argmax(dim=1).tolist()
    assert (first, second) == (0, 1)


@given(TASKS, CAPTION, st.integers(0, 5))
def test_padding_changes_no_bit(tasks: list[Captions], words: list[int], padding: int) -> None:
    prior, short = learned(tasks), said([words])
    wide = torch.cat([short.ids, torch.full((1, padding), -1)], dim=1) if short.ids is not None else Tensor()
    padded = TextEmbeddings(torch.zeros(*wide.shape, 2), wide >= 0, short.sentence, wide)
    assert torch.equal(prior.log(short), prior.log(padded))


def test_later_tasks_change_no_statistic_of_earlier_ones() -> None:
    captions = said([[3, 1, 1], [1]])
    found = observe(captions, torch.tensor([5, 4]), 2)
    assert {name: values.tolist() for name, values in found.items()} == {
        "row": [0, 1, 1],
        "word": [1, 1, 3],
        "count": [1, 2, 1],
        "task": [2, 2],
    }


def test_a_tasks_videos_share_its_column() -> None:
    prior, asked = learned([[(0, [1, 2])], [(0, [2, 3])]]), said([[1], [2, 3]])
    found = score(Comparison(asked, asked, torch.zeros(3, 1, 2), number=2), prior)
    assert torch.equal(found, prior.log(asked)[:, 1:2].expand(2, 3))


def test_before_the_first_word_there_is_no_prior() -> None:
    wordless = TextEmbeddings(torch.zeros(1, 1, 2), torch.ones(1, 1).bool(), torch.zeros(1, 2), torch.tensor([[-1]]))
    assert state([]) is None
    assert state([observe(wordless, torch.tensor([0]), 1)]) is None


def test_captions_encoded_for_training_are_refused() -> None:
    text = said([[1]])
    with pytest.raises(ValueError, match="no token ids"):
        observe(TextEmbeddings(text.words, text.mask, text.sentence), torch.tensor([0]), 1)
