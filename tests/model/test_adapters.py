import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import DIM, FRAMES, IMAGE, PATCHES, WIDTH, noise, shaken, tiny_clip, tiny_model, tokens
from torch import Tensor, nn
from torch.nn import functional as F

from structalign.model.adapters import EtfHead, FrameFusionAttention, LoraMixture, Routing, share_used

EXPERTS, RANK = 4, 2


@torch.no_grad()
def test_fusion_starts_as_identity() -> None:
    clip, model = tiny_clip(), tiny_model(frozen=0)
    states = clip.vision_prefix(noise(2 * FRAMES, 3, IMAGE, IMAGE), 0)
    ours = model.encode_frames(states.view(2, FRAMES, 1 + PATCHES, WIDTH))
    assert torch.equal(ours.view(-1, DIM), clip.vision_suffix(states, 0))


@pytest.mark.parametrize("task", [1, 2])
@torch.no_grad()
def test_the_mixture_starts_as_identity(task: int) -> None:
    batch = tokens([5, 6, 7], [8])
    ours = tiny_model(tasks=2).encode_text(batch, torch.full((2,), task))
    assert torch.equal(ours.words, tiny_clip().text(batch))


@torch.no_grad()
def test_adapters_with_noise_are_not_the_identity() -> None:
    batch, model = tokens([5, 6, 7]), shaken(tiny_model())
    assert not torch.equal(model.encode_text(batch, torch.ones(1, dtype=torch.int64)).words, tiny_clip().text(batch))


def fusion(layer: int) -> FrameFusionAttention:
    """A fusion with random projections and alpha 0.3."""
    attention = tiny_clip().vision_layers[layer].self_attn
    assert isinstance(attention, nn.Module)
    module = FrameFusionAttention(attention, layer, FRAMES)
    with torch.no_grad():
        for i, p in enumerate((module.q_proj, module.k_proj, module.v_proj, module.out_proj)):
            p.weight.copy_(noise(WIDTH, WIDTH, seed=i) * 0.3)
            p.bias.copy_(noise(WIDTH, seed=10 + i))
        module.alpha.fill_(0.3)
    return module


def slow_cross(module: FrameFusionAttention, own: Tensor, neighbour: Tensor) -> Tensor:
    """One frame [T, W] with queries of another, one head and one token at a time."""
    heads, size = module.heads, WIDTH // module.heads
    query, key, value = module.q_proj(neighbour), module.k_proj(own), module.v_proj(own)
    mixed = torch.zeros_like(own)
    for head in range(heads):
        part = slice(head * size, (head + 1) * size)
        for token in range(len(own)):
            logits = torch.stack([query[token, part] @ key[other, part] for other in range(len(own))])
            weight = (logits / math.sqrt(size)).softmax(dim=0)
            mixed[token, part] = sum(weight[i] * value[i, part] for i in range(len(own)))
    out: Tensor = module.out_proj(mixed)
    return out


@pytest.mark.parametrize("layer", [0, 1, 2])
@torch.no_grad()
def test_fusion_equals_a_loop_over_frames(layer: int) -> None:
    module, hidden = fusion(layer), noise(2, FRAMES, 1 + PATCHES, WIDTH)
    fused, _ = module(hidden_states=hidden.flatten(0, 1))
    fused = fused.view_as(hidden)
    for b in range(2):
        for n in range(FRAMES):
            other = max(n - 1, 0) if layer % 2 == 0 else min(n + 1, FRAMES - 1)
            own = module.attention(hidden_states=hidden[b, n][None], attention_mask=None)[0][0]
            expected = 0.7 * own + 0.3 * slow_cross(module, hidden[b, n], hidden[b, other])
            torch.testing.assert_close(fused[b, n], expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_released_projections_start_uniform_around_zero() -> None:
    made = fusion(0)
    made.initialise_uniformly("a key")
    weights = torch.stack([getattr(made, f"{name}_proj").weight for name in ("q", "k", "v", "out")])
    bound = weights.shape[-1] ** -0.5
    assert weights.abs().max() <= bound
    assert weights.min() < -0.8 * bound
    assert weights.max() > 0.8 * bound


def test_the_fusion_of_a_video_does_not_depend_on_others() -> None:
    module, hidden = fusion(1), noise(2 * FRAMES, 1 + PATCHES, WIDTH)
    changed = hidden.clone()
    changed[FRAMES:] += 1
    one, other = module(hidden_states=hidden)[0], module(hidden_states=changed)[0]
    torch.testing.assert_close(one[:FRAMES], other[:FRAMES])


def mixture(dropout: float = 0.0) -> LoraMixture:
    """A mixture around a random linear layer, with no parameter at its initial value."""
    module = LoraMixture(nn.Linear(WIDTH, 10), Routing(), RANK, 8.0, EXPERTS, dropout)
    with torch.no_grad():
        for i, p in enumerate(module.parameters()):
            p.copy_(noise(*p.shape, seed=i))
    return module.eval()


def routed(module: LoraMixture, tasks: list[int], eot: list[int], seed: int = 5) -> Tensor:
    """Set the routing of all captions. Returns their task prototypes."""
    prototypes = noise(len(tasks), WIDTH, seed=seed)
    module.routing[0].set(torch.tensor(tasks), torch.tensor(eot), prototypes)
    return prototypes


@torch.no_grad()
def test_the_mixture_equals_a_loop_over_experts() -> None:
    module, x = mixture(), noise(3, 5, WIDTH)
    routed(module, [2, 1, 3], [4, 2, 1])
    gates = module.gates(x)
    for r in range(3):
        for token in range(5):
            y = module.linear(x[r, token])
            for e in range(EXPERTS):
                y = y + 8.0 / RANK * gates[r, e] * (module.lora_Bs[e] @ (module.lora_A @ x[r, token]))
            torch.testing.assert_close(module(x)[r, token], y, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_gates_are_the_softmax_over_the_two_largest_of_the_router() -> None:
    module, x = mixture(), noise(2, 5, WIDTH)
    prototypes = routed(module, [2, 3], [4, 2])
    for r, eot in enumerate([4, 2]):
        logits = [float(module.router[e] @ (x[r, eot] + prototypes[r])) for e in range(EXPERTS)]
        best = sorted(range(EXPERTS), key=lambda e: logits[e])[-2:]
        total = sum(math.exp(logits[e] - logits[best[1]]) for e in best)
        expected = [math.exp(logits[e] - logits[best[1]]) / total if e in best else 0.0 for e in range(EXPERTS)]
        assert module.gates(x)[r].tolist() == pytest.approx(expected, abs=1e-5)


@torch.no_grad()
def test_training_adds_noise_to_the_logits() -> None:
    module, x = mixture().train(), noise(3, 5, WIDTH)
    rho = x[torch.arange(3), torch.tensor([4, 2, 1])] + routed(module, [2, 2, 2], [4, 2, 1])
    torch.manual_seed(7)
    gates = module.gates(x)
    torch.manual_seed(7)
    logits = rho @ module.router.T + torch.randn(3, EXPERTS) * (F.softplus(rho @ module.w_noise.T) + 0.01)
    second = logits.sort(dim=1).values[:, -2:-1]
    torch.testing.assert_close(gates, logits.masked_fill(logits < second, -torch.inf).softmax(dim=1))


@given(st.lists(st.integers(1, 4), min_size=1, max_size=6), st.integers(0, 99))
@settings(deadline=None, max_examples=30)
@torch.no_grad()
def test_gates_sum_to_one(tasks: list[int], seed: int) -> None:
    module, count = mixture(), len(tasks)
    routed(module, tasks, [2] * count, seed)
    assert module.gates(noise(count, 3, WIDTH, seed=seed)).sum(dim=1).tolist() == pytest.approx([1.0] * count)


@given(st.lists(st.integers(2, 4), min_size=1, max_size=6), st.integers(0, 99))
@settings(deadline=None, max_examples=30)
@torch.no_grad()
def test_a_caption_has_at_most_two_experts(tasks: list[int], seed: int) -> None:
    module, count = mixture(), len(tasks)
    routed(module, tasks, [2] * count, seed)
    assert int((module.gates(noise(count, 3, WIDTH, seed=seed)) > 0).sum(dim=1).max()) <= 2


@pytest.mark.parametrize("others", [[1, 1], [2, 3]])
@torch.no_grad()
def test_the_first_task_is_the_first_expert(others: list[int]) -> None:
    module = mixture()
    routed(module, [1, *others], [1, 1, 1])
    assert module.gates(noise(3, 4, WIDTH))[0].tolist() == [1.0, 0.0, 0.0, 0.0]


@torch.no_grad()
def test_gates_depend_on_the_input_before_dropout() -> None:
    module, x = mixture(dropout=0.9).train(), noise(2, 4, WIDTH)
    routed(module, [2, 2], [3, 3])
    module.w_noise.fill_(-1e4)  # softplus of a very negative number: hardly any noise
    x = x.abs()
    module.routing[0].prototypes.zero_()
    module.forget_used()
    module(x)
    used = module.used.clone()
    assert used.tolist() == (module.eval().gates(x) > 0).any(dim=0).tolist()


def test_an_unused_expert_has_no_gradient() -> None:
    module = mixture().train()
    routed(module, [2], [1])
    module(noise(1, 3, WIDTH)).sum().backward()
    module.drop_gradients(module.used.tolist())
    assert not module.used.all(), "nothing to see: every expert was chosen"
    assert [b.grad is not None for b in module.lora_Bs] == module.used.tolist()


def test_an_expert_is_used_if_any_pass_of_the_step_chose_it() -> None:
    module, x = mixture().train(), noise(8, 3, WIDTH)
    routed(module, [2], [1])
    module.forget_used()
    for row in x:
        module(row[None])
    assert module.used.sum() > 2, "a pass of one caption chooses two"
    module.forget_used()
    assert not module.used.any()


@torch.no_grad()
def test_every_expert_of_the_second_task_begins_as_a_copy_of_the_first() -> None:
    module = mixture()
    first = module.lora_Bs[0].clone()
    module.spread_first_expert()
    assert all(torch.equal(expert, first) for expert in module.lora_Bs)


@torch.no_grad()
def test_copying_the_first_expert_changes_no_caption_of_task_one() -> None:
    model, batch, one = shaken(tiny_model(tasks=2)), tokens([5, 6, 7]), torch.tensor([1])
    before = model.encode_text(batch, one).words
    for module in model.mixtures():
        module.spread_first_expert()
    assert torch.equal(model.encode_text(batch, one).words, before)


def test_equal_keys_give_a_mixture_equal_initial_weights() -> None:
    one, other = mixture(), mixture()
    one.initialise(0, "lora", 1)
    other.initialise(0, "lora", 1)
    assert torch.equal(one.lora_A, other.lora_A)


def test_a_and_router_start_within_one_over_root_width() -> None:
    module = mixture()
    module.initialise(0)
    bound = WIDTH**-0.5
    for drawn in (module.lora_A.detach(), module.router.detach()):
        assert -bound <= float(drawn.min()) < -0.8 * bound
        assert 0.8 * bound < float(drawn.max()) <= bound


@pytest.mark.parametrize("kind", ["shared", "separate", "fixed"])
def test_a_map_into_etf_space_is_linear(kind: str) -> None:
    head, states = EtfHead(DIM, 5, kind), noise(2, DIM)
    with torch.no_grad():
        for number, weight in enumerate(head.parameters()):
            weight.copy_(noise(5, DIM, seed=number))
    assert torch.allclose(head.text(states), states @ noise(5, DIM).T)
    assert torch.allclose(head.video(states), states @ noise(5, DIM, seed=int(kind == "separate")).T)


def test_gates_of_the_first_task_have_the_asked_number_and_type() -> None:
    routing = Routing()
    for experts, dtype in ((2, torch.float32), (2, torch.float64), (3, torch.float64)):
        gates = routing.first_gates(experts, dtype)
        assert (gates.tolist(), gates.dtype) == ([[1.0] + [0.0] * (experts - 1)], dtype)


def test_a_model_of_one_mixture_has_one_shared_record() -> None:
    only = mixture()
    used = share_used([only], torch.device("cpu"))
    only.used[1] = True
    assert used.tolist() == [[False, True, False, False]]
