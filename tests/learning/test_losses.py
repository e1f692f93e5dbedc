import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import noise
from torch import Tensor

from structalign.learning import losses

videos = st.lists(st.integers(0, 2), min_size=1, max_size=6)


def cross_entropy(scores: list[float], right: int) -> float:
    return math.log(sum(math.exp(s) for s in scores)) - scores[right]


def dot(a: Tensor, b: Tensor) -> float:
    return sum(float(x) * float(y) for x, y in zip(a, b, strict=True))


def cosine(a: Tensor, b: Tensor) -> float:
    return dot(a, b) / math.sqrt(dot(a, a) * dot(b, b))


def slow_two_way(logits: list[list[float]], negatives: list[list[bool]]) -> float:
    """Cross-entropy of rows plus that of columns, over the ground truth and its negatives."""
    size, total = len(logits), 0.0
    for i in range(size):
        keep = [j for j in range(size) if j == i or negatives[i][j]]
        total += cross_entropy([logits[i][j] for j in keep], keep.index(i)) / size
        total += cross_entropy([logits[j][i] for j in keep], keep.index(i)) / size
    return total


@given(videos, st.integers(0, 99))
@settings(deadline=None)
def test_contrastive_equals_a_loop_without_pairs_of_one_video(video: list[int], seed: int) -> None:
    logits = noise(len(video), len(video), seed=seed)
    negatives = [[a != b for b in video] for a in video]
    expected = slow_two_way(logits.tolist(), negatives)
    assert float(losses.contrastive(logits, torch.tensor(video))) == pytest.approx(expected, abs=1e-5)


def test_captions_of_one_video_are_no_negatives() -> None:
    assert float(losses.contrastive(noise(3, 3), torch.zeros(3))) == 0.0


def slow_attend(tokens: Tensor, vertex: Tensor) -> Tensor:
    weight = [math.exp(dot(token, vertex)) for token in tokens]
    return torch.stack([w / sum(weight) * token for w, token in zip(weight, tokens, strict=True)]).sum(dim=0)


def test_etf_alignment_equals_a_loop() -> None:
    words, frames, vertices = noise(3, 4, 6), noise(3, 2, 6, seed=1), noise(3, 6, seed=2)
    lengths = [1, 3, 4]
    mask = torch.tensor([[i < length for i in range(4)] for length in lengths])
    total = 0.0
    for b, length in enumerate(lengths):
        text, video = slow_attend(words[b, :length], vertices[b]), slow_attend(frames[b], vertices[b])
        total += 2 - cosine(text, vertices[b]) - cosine(video, vertices[b])
    assert float(losses.etf_alignment(words, mask, frames, vertices)) == pytest.approx(total / 3, abs=1e-5)


def test_mapping_inside_the_etf_loss_equals_mapping_before_it() -> None:
    words, frames, vertices = noise(3, 4, 6).requires_grad_(), noise(3, 2, 6, seed=1), noise(3, 5, seed=2)
    mask = torch.tensor([[True, False, False, False], [True, True, True, False], [True] * 4])
    text, video = noise(5, 6, seed=3).requires_grad_(), noise(5, 6, seed=4).requires_grad_()
    given = losses.etf_alignment(words, mask, frames, vertices, text, video)
    mapped = losses.etf_alignment(words @ text.T, mask, frames @ video.T, vertices)
    assert float(given.detach()) == pytest.approx(float(mapped.detach()), rel=2e-6)
    learning = (words, text, video)
    torch.testing.assert_close(torch.autograd.grad(given, learning), torch.autograd.grad(mapped, learning))


def test_a_caption_without_words_has_cosine_zero_and_a_finite_gradient() -> None:
    words, frames, vertices = noise(1, 2, 6).requires_grad_(), noise(1, 2, 6, seed=1), noise(1, 6, seed=2)
    vertices = vertices / vertices.norm()
    loss = losses.etf_alignment(words, torch.zeros(1, 2, dtype=torch.bool), frames, vertices)
    loss.backward()  # type: ignore[no-untyped-call]
    assert float(loss.detach()) == pytest.approx(2 - cosine(slow_attend(frames[0], vertices[0]), vertices[0]), abs=1e-5)
    assert words.grad is not None
    assert torch.equal(words.grad, torch.zeros(1, 2, 6))


def test_words_on_their_vertex_have_loss_zero() -> None:
    vertex = noise(1, 6)
    tokens = vertex[:, None].repeat(1, 3, 1)
    loss = losses.etf_alignment(tokens, torch.ones(1, 3, dtype=torch.bool), tokens, vertex)
    assert float(loss) == pytest.approx(0, abs=1e-6)


def test_padding_words_never_change_the_alignment() -> None:
    words, frames, vertices = noise(2, 3, 6), noise(2, 2, 6), noise(2, 6, seed=2)
    mask = torch.tensor([[True, True, False]] * 2)
    changed = words.clone()
    changed[:, 2] = 100
    one = losses.etf_alignment(words, mask, frames, vertices)
    assert torch.equal(one, losses.etf_alignment(changed, mask, frames, vertices))


def slow_divergence(teacher: Tensor, student: Tensor, temperature: float) -> float:
    """T^2 times the mean over rows of KL(softmax(teacher / T) || softmax(student / T))."""
    total = 0.0
    for r, s in zip(teacher.tolist(), student.tolist(), strict=True):
        p, q = [math.exp(x / temperature) for x in r], [math.exp(x / temperature) for x in s]
        total += sum(a / sum(p) * math.log((a / sum(p)) / (b / sum(q))) for a, b in zip(p, q, strict=True))
    return temperature**2 * total / len(teacher)


@given(st.integers(1, 5), st.floats(0.5, 4), st.integers(0, 99))
@settings(deadline=None)
def test_relation_equals_the_divergence_written_out(size: int, temperature: float, seed: int) -> None:
    student, teacher = noise(size, size, seed=seed), noise(size, size, seed=seed + 1000)
    rows = slow_divergence(teacher, student, temperature)
    columns = slow_divergence(teacher.T, student.T, temperature)
    assert float(losses.relation(student, teacher, temperature)) == pytest.approx((rows + columns) / 2, abs=1e-4)


def test_equal_relations_have_loss_zero() -> None:
    logits = noise(4, 4) * 5
    assert float(losses.relation(logits, logits, 2)) == pytest.approx(0, abs=1e-6)


@given(st.integers(1, 5), st.integers(0, 99))
@settings(deadline=None)
def test_relation_is_never_negative(size: int, seed: int) -> None:
    assert float(losses.relation(noise(size, size, seed=seed), noise(size, size, seed=seed + 1), 2)) >= -1e-6


def test_the_teacher_gets_no_gradient() -> None:
    student, teacher = noise(3, 3).requires_grad_(), noise(3, 3, seed=1).requires_grad_()
    losses.relation(student, teacher, 2).backward()  # type: ignore[no-untyped-call]
    assert teacher.grad is None


@pytest.mark.parametrize("mixed", [True, False])
@pytest.mark.parametrize("mask", [True, False])
def test_pseudo_contrastive_equals_a_loop(mask: bool, mixed: bool) -> None:
    ids, category = [0, 0, 1], [4, 5, 4, 4]
    text, video, old_text, old_video = (
        noise(n, 6, seed=i) / 20 for i, n in enumerate([3, 3, 4, 4])
    )  # small, so that the loop's exponentials stay finite
    texts, films = [*text, *old_text], [*video, *old_video]
    logits = [[math.exp(4.6) * dot(t, v) for v in films] for t in texts]
    negatives = [[True] * 7 for _ in range(7)]
    for i in range(3):
        for j in range(3):
            negatives[i][j] = not mixed and ids[i] != ids[j]
    for i in range(4):
        for j in range(4):
            negatives[3 + i][3 + j] = not mixed and (not mask or category[i] != category[j])
    batch = text, video, torch.tensor(ids), old_text, old_video, torch.tensor(category)
    loss = losses.pseudo_contrastive(*batch, mask, mixed, scale=math.exp(4.6))
    assert float(loss) == pytest.approx(slow_two_way(logits, negatives), abs=1e-4)


def test_the_weight_is_relative_to_the_other_losses() -> None:
    assert float(losses.relative_weight(0.1, torch.tensor(6.0), torch.tensor(2.0))) == pytest.approx(0.3)


def test_a_vanishing_loss_gets_a_bounded_weight() -> None:
    assert float(losses.relative_weight(0.1, torch.tensor(6.0), torch.tensor(0.0))) == pytest.approx(600)


def test_the_weight_carries_no_gradient() -> None:
    base, loss = torch.tensor(6.0, requires_grad=True), torch.tensor(2.0, requires_grad=True)
    assert not losses.relative_weight(0.1, base, loss).requires_grad


def test_a_logit_adjustment_is_added_to_every_candidate_in_both_directions() -> None:
    logits, adjustment = noise(3, 3), torch.tensor([0.0, -1.0, -2.0])
    expected = 0.0
    for i in range(3):
        for row in (logits[i], logits[:, i]):
            weight = [math.exp(float(row[j] + adjustment[j])) for j in range(3)]
            expected -= math.log(weight[i] / sum(weight)) / 3
    assert float(losses.contrastive(logits, torch.arange(3), adjustment)) == pytest.approx(expected, rel=1e-5)


def test_a_captions_own_video_is_ranked_among_all_candidates_but_its_copies() -> None:
    """Captions 0 and 1 are of one video; the fourth and fifth candidates come from elsewhere."""
    logits = noise(3, 5)
    candidates = [[0, 2, 3, 4], [1, 2, 3, 4], [0, 1, 2, 3, 4]]
    expected = 0.0
    for i, columns in enumerate(candidates):
        expected += (math.log(sum(math.exp(float(logits[i, j])) for j in columns)) - float(logits[i, i])) / 3
    found = losses.caption_to_video(logits, torch.tensor([7, 7, 8]))
    assert found.item() == pytest.approx(expected, rel=1e-5)
