import torch
from tiny import DIM, FRAMES, WIDTH, noise, tiny_clip, tokens
from torch import nn

from structalign.model.adapters import Routing
from structalign.model.task_lora import TaskLora
from structalign.model.text_encoding import encode_as_tasks, encode_captions
from structalign.model.video_text import ModelConfig, VideoText

RANK, LENGTH = 2, 5
SHAPE = ModelConfig(FRAMES, 1, rank=RANK, alpha=4.0, experts=0, dropout=0.0, etf_dim=8, modules=("fusion", "task_lora"))
CPU = torch.device("cpu")


def lora(tasks: int = 2) -> TaskLora:
    """Random adapters of some tasks around a linear layer. They route two captions as tasks 1 and 2."""
    routing = Routing()
    routing.set(torch.tensor([1, tasks]), torch.tensor([LENGTH - 1, 2]), torch.zeros(2, WIDTH))
    made = TaskLora(nn.Linear(WIDTH, WIDTH), routing, RANK, 4.0, dropout=0.0)
    for task in range(tasks):
        made.add_task("tiny", task)
    with torch.no_grad():
        for number, up in enumerate(made.lora_Bs):
            up.copy_(noise(WIDTH, RANK, seed=number))
    return made.eval()


def model(tasks: int) -> VideoText:
    """A model of some tasks with random adapters."""
    made = VideoText(tiny_clip(), SHAPE, seed=0)
    for task in range(tasks):
        made.add_task("tiny", task)
    with torch.no_grad():
        for number, module in enumerate(made.task_loras()):
            for task, up in enumerate(module.lora_Bs):
                up.copy_(noise(*up.shape, seed=100 * number + task))
    return made.eval()


@torch.no_grad()
def test_a_caption_goes_through_the_adapter_of_its_own_task() -> None:
    made, x = lora(), noise(2, LENGTH, WIDTH)
    found = made(x)
    for caption, task in enumerate([1, 2]):
        down, up = made.adapter(task)
        for token in range(LENGTH):
            expected = made.linear(x[caption, token]) + 2.0 * up @ (down @ x[caption, token])  # alpha / rank = 2
            torch.testing.assert_close(found[caption, token], expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_a_new_task_begins_at_zero_shot_clip() -> None:
    made = model(tasks=2)
    made.add_task("tiny", 2)
    captions = tokens([5, 6, 7], [8], [9, 4])
    found = encode_captions(made, captions, 3, CPU)
    with made.frozen():
        expected = encode_captions(made, captions, 3, CPU)
    torch.testing.assert_close(found.sentence, expected.sentence)


@torch.no_grad()
def test_a_new_task_does_not_change_a_bit_of_an_older_task_s_embeddings() -> None:
    made, captions = model(tasks=2), tokens([5, 6, 7], [8], [9, 4])
    before = encode_captions(made, captions, 1, CPU)
    made.add_task("tiny", 2)
    assert torch.equal(encode_captions(made, captions, 1, CPU).words, before.words)


@torch.no_grad()
def test_several_tasks_in_one_pass_have_the_bits_of_each_alone() -> None:
    made, captions = model(tasks=3), tokens([5, 6, 7], [8], [9, 4])
    for task, found in zip((1, 2, 3), encode_as_tasks(made, captions, [1, 2, 3], CPU), strict=True):
        assert torch.equal(found.words, encode_captions(made, captions, task, CPU).words)


def test_only_the_adapters_of_the_task_learn() -> None:
    made = model(tasks=3)
    learning = {id(p) for p in made.learning(2)["lora"]}
    assert learning == {id(p) for module in made.task_loras() for p in module.adapter(2)}


def test_its_queries_are_routed_and_have_the_clips_dimension() -> None:
    made = model(tasks=2)
    assert made.routed
    assert made.tasks == 2
    assert encode_captions(made, tokens([5, 6], [7]), 2, CPU).sentence.shape == (2, DIM)
