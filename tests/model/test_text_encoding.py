"""Query captions: the embedding of each does not depend on the others."""

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import CPU, shaken, tiny_clip, tiny_model, tokens
from torch import Tensor

from structalign.model.adapters import LoraMixture
from structalign.model.backbone import Tokens
from structalign.model.text_encoding import ROWS, encode_as_tasks, encode_captions, encode_zero_shot

MIXED = tokens(*([5 + i % 7, *range(1, 1 + i % 5)] for i in range(40)))


def alone(batch: Tokens, row: int) -> Tokens:
    return batch[torch.tensor([row])]


@pytest.mark.parametrize("task", [1, 2])
def test_a_query_does_not_depend_on_the_others_it_is_encoded_with(task: int) -> None:
    model = shaken(tiny_model(tasks=2))
    together = encode_captions(model, MIXED, task, CPU)
    for row in range(0, 40, 7):
        single = encode_captions(model, alone(MIXED, row), task, CPU)
        assert torch.equal(together.words[row, : single.words.shape[1]], single.words[0])


@given(st.lists(st.integers(1, 5), min_size=1, max_size=2 * ROWS), st.integers(1, 40))
@settings(deadline=None, max_examples=15)
def test_captions_encoded_as_many_tasks_at_once_have_the_bits_of_one_task_at_a_time(
    tasks: list[int], count: int
) -> None:
    """This includes one caption with more tasks than a pass has rows."""
    model, some = shaken(tiny_model(tasks=5)), MIXED[torch.arange(count)]
    for task, found in zip(tasks, encode_as_tasks(model, some, tasks, CPU), strict=True):
        alone = encode_captions(model, some, task, CPU)
        assert torch.equal(found.words, alone.words)
        assert torch.equal(found.sentence, alone.sentence)
        assert torch.equal(found.mask, alone.mask)


def test_experts_are_stacked_again_after_training() -> None:
    model = shaken(tiny_model(tasks=2))
    before = encode_captions(model, MIXED, 2, CPU).words
    with torch.no_grad():
        for mixture in model.mixtures():
            for expert in mixture.lora_Bs:
                expert.add_(1.0)
    assert not torch.equal(encode_captions(model, MIXED, 2, CPU).words, before)


def test_experts_are_stacked_once_for_all_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    model, made = shaken(tiny_model(tasks=2)), []
    parts = LoraMixture.parts

    def watched(mixture: LoraMixture) -> tuple[Sequence[Tensor]]:
        made.append(mixture)
        return parts(mixture)

    monkeypatch.setattr(LoraMixture, "parts", watched)
    encode_captions(model, MIXED, 2, CPU)
    assert made == model.mixtures()


def test_a_sentence_does_not_depend_on_the_others_it_is_encoded_with() -> None:
    model = shaken(tiny_model(tasks=2))
    together = encode_captions(model, MIXED, 2, CPU).sentence
    assert all(torch.equal(together[i], encode_captions(model, alone(MIXED, i), 2, CPU).sentence[0]) for i in range(5))


def test_encoding_queries_twice_gives_equal_bits() -> None:
    model = shaken(tiny_model(tasks=2))
    assert torch.equal(encode_captions(model, MIXED, 2, CPU).words, encode_captions(model, MIXED, 2, CPU).words)


def test_encoding_in_groups_equals_one_pass() -> None:
    model = shaken(tiny_model(tasks=2))
    with torch.no_grad():
        whole = model.encode_text(MIXED, torch.full((40,), 2))
    grouped = encode_captions(model, MIXED, 2, CPU)
    torch.testing.assert_close(grouped.words[whole.mask], whole.words[whole.mask], rtol=1e-4, atol=1e-5)


def test_queries_have_the_words_of_their_tokens() -> None:
    assert torch.equal(encode_captions(tiny_model(), MIXED, 1, CPU).mask, MIXED.word_mask())


def test_with_padding_queries_are_encoded_in_their_order_32_at_a_time() -> None:
    model = shaken(tiny_model(tasks=2, words="with_padding"))
    found = encode_captions(model, MIXED, 2, CPU)
    with torch.no_grad():
        for rows in torch.split(torch.arange(40), 32):
            part = model.encode_text(MIXED[rows], torch.full((len(rows),), 2))
            width = part.mask.shape[1]
            torch.testing.assert_close(found.words[rows, :width], part.words)
            assert torch.equal(found.mask[rows, :width], part.mask)
            assert not found.mask[rows, width:].any()


def test_frozen_queries_are_those_of_pretrained_clip() -> None:
    ours = encode_zero_shot((model := shaken(tiny_model())).clip, model, MIXED, CPU)
    assert torch.equal(ours.words, encode_zero_shot(tiny_clip(), None, MIXED, CPU).words)
