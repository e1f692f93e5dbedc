"""How well a caption's words predict its task: naive Bayes and two logistic regressions."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray

CLASSIFIERS = ("naive Bayes", "unigrams", "uni- and bigrams")

Labels = NDArray[np.int64]


def terms(caption: str, bigrams: bool) -> list[str]:
    """The words of a caption. With `bigrams`, also its pairs of neighbours.

    >>> terms("a hog moves", True)
    ['a', 'hog', 'moves', 'a hog', 'hog moves']
    """
    words = caption.lower().split()
    return words + [f"{a} {b}" for a, b in pairwise(words)] if bigrams else words


def told_by_words(
    train: Sequence[str], label: Labels, test: Sequence[str], truth: Labels
) -> dict[str, NDArray[np.bool_]]:
    """For each classifier, trained on all training captions: is its class of each test caption [Q] right?"""
    found = {}
    for name in CLASSIFIERS:
        bigrams = name == "uni- and bigrams"
        column = {term: i for i, term in enumerate(dict.fromkeys(t for text in train for t in terms(text, bigrams)))}
        seen, asked = (_counts(texts, column, bigrams) for texts in (train, test))
        logits = _bayes(seen, label, asked) if name == "naive Bayes" else _regression(seen, label, asked)
        found[name] = logits.argmax(1).numpy() == truth
    return found


def _counts(texts: Sequence[str], column: dict[str, int], bigrams: bool) -> torch.Tensor:
    counts = torch.zeros(len(texts), len(column))
    for row, text in enumerate(texts):
        for term in terms(text, bigrams):
            if term in column:
                counts[row, column[term]] += 1
    return counts


def _bayes(seen: torch.Tensor, label: Labels, asked: torch.Tensor) -> torch.Tensor:
    """Multinomial, with add-one smoothing."""
    classes = torch.nn.functional.one_hot(torch.from_numpy(label)).float()
    share = classes.T @ seen + 1
    return asked @ (share / share.sum(1, keepdim=True)).log().T + classes.mean(0).log()


def _regression(seen: torch.Tensor, label: Labels, asked: torch.Tensor) -> torch.Tensor:
    """Multinomial. The penalty is half the squared weights, added to the summed loss, as in scikit-learn's default."""
    truth = torch.from_numpy(label)
    weight = torch.zeros(seen.shape[1], int(truth.max()) + 1, requires_grad=True)
    bias = torch.zeros(weight.shape[1], requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        fit = torch.nn.functional.cross_entropy(seen @ weight + bias, truth, reduction="sum")
        total = fit + 0.5 * weight.square().sum()
        total.backward()  # type: ignore[no-untyped-call]
        return total

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    return (asked @ weight + bias).detach()
