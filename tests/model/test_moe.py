import math

import torch
from tiny import DIM, FRAMES, IMAGE, WIDTH, noise, tiny_clip, tokens
from torch import Tensor, nn

from structalign.model.adapters import Routing
from structalign.model.moe import MoeMlp
from structalign.model.video_text import ModelConfig, VideoText

EXPERTS, RANK, LENGTH = 4, 2, 5
SHAPE = ModelConfig(FRAMES, 1, rank=RANK, alpha=4.0, experts=EXPERTS, dropout=0.0, etf_dim=8, modules=("moe",))


def moe(tasks: int = 2) -> MoeMlp:
    """A mixture around a linear layer with random experts and routers. It routes two sequences as tasks 1 and 2."""
    routing = Routing()
    routing.set(torch.tensor([1, tasks]), torch.tensor([LENGTH - 1, 2]), torch.zeros(2, WIDTH))
    made = MoeMlp(nn.Linear(WIDTH, WIDTH), routing, WIDTH, RANK, 4.0, EXPERTS, dropout=0.0)
    made.initialise("tiny")
    for task in range(tasks):
        made.add_router("router", task)
    with torch.no_grad():
        for number, expert in enumerate(made.lora_Bs):
            expert.copy_(noise(WIDTH, RANK, seed=number))
    return made.eval()


def slow_gates(made: MoeMlp, x: Tensor, task: int, summary: int) -> list[float]:
    """Softmax over the two largest of the task's router on the summary token, zeros elsewhere."""
    logits = [float(row @ x[summary]) for row in made.routers[task - 1]]
    top = sorted(range(EXPERTS), key=lambda e: -logits[e])[:2]
    total = sum(math.exp(logits[e]) for e in top)
    return [math.exp(logits[e]) / total if e in top else 0.0 for e in range(EXPERTS)]


@torch.no_grad()
def test_a_sequence_takes_the_two_best_experts_of_its_own_tasks_router() -> None:
    made, x = moe(), noise(2, LENGTH, WIDTH)
    expected = torch.tensor([slow_gates(made, x[0], 1, LENGTH - 1), slow_gates(made, x[1], 2, 2)])
    torch.testing.assert_close(made.gates(x), expected)


@torch.no_grad()
def test_the_output_is_the_mlps_and_the_weighed_sum_of_the_experts() -> None:
    made, x = moe(), noise(2, LENGTH, WIDTH)
    found = made(x)
    for sequence, (task, summary) in enumerate([(1, LENGTH - 1), (2, 2)]):
        gates = slow_gates(made, x[sequence], task, summary)
        for token in range(LENGTH):
            expected = made.mlp(x[sequence, token])
            for gate, a, b in zip(gates, made.lora_As, made.lora_Bs, strict=True):
                expected = expected + 2.0 * gate * (b @ (a @ x[sequence, token]))  # alpha / rank = 2
            torch.testing.assert_close(found[sequence, token], expected, rtol=1e-4, atol=1e-5)


def test_choices_are_only_counted_in_training() -> None:
    made, x = moe(), noise(2, LENGTH, WIDTH)
    made(x)
    assert int(made.chosen.sum()) == 0
    made.train()
    made(x)
    assert int(made.chosen.sum()) == 4  # two sequences, two experts each


def test_a_new_task_resets_the_counts() -> None:
    made = moe().train()
    made(noise(2, LENGTH, WIDTH))
    made.add_router("router", 2)
    assert int(made.chosen.sum()) == 0


def test_the_most_used_experts_are_frozen_and_stay_so() -> None:
    made = moe()
    made.chosen.copy_(torch.tensor([3, 9, 0, 5]))
    made.freeze_most_used()
    made.chosen.copy_(torch.tensor([9, 3, 0, 5]))
    made.freeze_most_used()
    assert made.frozen.tolist() == [True, True, False, True]
    assert {id(p) for p in made.learning_experts()} == {id(made.lora_As[2]), id(made.lora_Bs[2])}


def test_an_expert_that_was_not_chosen_gets_no_gradient() -> None:
    made, x = moe().train(), noise(2, LENGTH, WIDTH)
    made(x).sum().backward()
    made.drop_gradients(made.used.tolist())
    assert [a.grad is not None for a in made.lora_As] == made.used.tolist()
    assert [b.grad is not None for b in made.lora_Bs] == made.used.tolist()


@torch.no_grad()
def test_both_towers_start_as_clip() -> None:
    model = VideoText(tiny_clip(), SHAPE, seed=0)
    model.add_task("router")
    clip, pixels, batch = tiny_clip(), noise(FRAMES, 3, IMAGE, IMAGE), tokens([5, 6, 7], [8])
    states = model.inputs(pixels)[None]
    expected = clip.vision_suffix(clip.vision_prefix(pixels, 1), 1).view(1, FRAMES, DIM)
    assert torch.equal(model.eval().encode_frames(states), expected)
    assert torch.equal(model.encode_text(batch, torch.ones(2, dtype=torch.int64)).words, clip.text(batch))


@torch.no_grad()
def test_videos_use_the_last_task_s_router_and_captions_their_own_task_s() -> None:
    model = VideoText(tiny_clip(), SHAPE, seed=0)
    for task in (1, 2):
        model.add_task("router", task)
    for number, mixture in enumerate(model.moes()):
        for expert, b in enumerate(mixture.lora_Bs):
            b.copy_(noise(*b.shape, seed=10 * number + expert))
    model.eval()
    batch, states = tokens([5, 6, 7]), model.inputs(noise(FRAMES, 3, IMAGE, IMAGE))[None]
    before = model.encode_frames(states), *(model.encode_text(batch, torch.tensor([t])).words for t in (1, 2))
    for mixture in model.moes():
        mixture.routers[1].mul_(-1)
    after = model.encode_frames(states), *(model.encode_text(batch, torch.tensor([t])).words for t in (1, 2))
    assert [torch.equal(one, other) for one, other in zip(before, after, strict=True)] == [False, True, False]
