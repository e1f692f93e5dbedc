from contextlib import nullcontext
from typing import Any

import pytest
import torch
from tiny import CPU, DIM, FRAMES, IMAGE, LAYERS, PATCHES, WIDTH, noise, shaken, tiny_clip, tiny_model, tokens
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from structalign.model.text_encoding import encode_captions, encode_zero_shot
from structalign.model.video_text import ModelConfig, TextEmbeddings, VideoText

MIXED = tokens(*([5 + i % 7, *range(1, 1 + i % 5)] for i in range(40)))


def test_a_frozen_copy_does_not_change_when_the_model_is_trained() -> None:
    model = shaken(tiny_model(tasks=2))
    kept, before = model.frozen_copy(), encode_captions(model, MIXED, 2, CPU).words
    shaken(model, seed=1)
    assert torch.equal(encode_captions(kept, MIXED, 2, CPU).words, before)


def test_a_frozen_copy_shares_the_backbone() -> None:
    model = tiny_model()
    shared = {id(p) for p in model.backbone_parameters()}
    assert {id(p) for p in model.frozen_copy().backbone_parameters()} == shared


def test_a_frozen_copy_of_pretrained_clip_stays_pretrained_clip() -> None:
    model = shaken(tiny_model(tasks=2))
    with model.frozen():
        kept = model.frozen_copy()
    frozen = encode_zero_shot(model.clip, model, MIXED, CPU)
    torch.testing.assert_close(encode_captions(kept, MIXED, 2, CPU).words, frozen.words)


@torch.no_grad()
def test_encoding_a_video_twice_gives_equal_bits() -> None:
    model, states = shaken(tiny_model()), noise(2, FRAMES, 1 + PATCHES, WIDTH)
    assert torch.equal(model.encode_frames(states), model.encode_frames(states))


@torch.no_grad()
def test_a_later_token_does_not_change_an_earlier_token() -> None:
    model, one = shaken(tiny_model()), torch.ones(1, dtype=torch.int64)
    first, second = model.encode_text(tokens([5, 6, 7]), one), model.encode_text(tokens([5, 6, 9]), one)
    assert torch.equal(first.words[:, :3], second.words[:, :3])


@torch.no_grad()
def test_padding_does_not_change_a_word() -> None:
    model, two = shaken(tiny_model(tasks=2)), torch.tensor([2])
    short, padded = model.encode_text(tokens([5, 6]), two), model.encode_text(tokens([5, 6], pad=3), two)
    torch.testing.assert_close(short.words, padded.words[:, :4], rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_each_caption_is_routed_as_its_own_task() -> None:
    model, batch = shaken(tiny_model(tasks=3)), tokens([5, 6, 7], [5, 6, 7])
    mixed = model.encode_text(batch, torch.tensor([2, 3])).words
    same = model.encode_text(batch, torch.tensor([3, 3])).words
    torch.testing.assert_close(mixed[1], same[1])
    assert not torch.allclose(mixed[0], same[0])


@torch.no_grad()
def test_frozen_is_the_pretrained_clip_for_videos() -> None:
    clip, model, pixels = tiny_clip(), shaken(tiny_model(frozen=1)), noise(FRAMES, 3, IMAGE, IMAGE)
    states = clip.vision_prefix(pixels, 1)
    with model.frozen():
        assert torch.equal(model.encode_frames(states[None])[0], clip.vision_suffix(states, 1))


@torch.no_grad()
def test_adapters_act_again_after_the_frozen_block_fails() -> None:
    model, batch, one = shaken(tiny_model()), tokens([5]), torch.tensor([1])
    before = model.encode_text(batch, one).words
    with pytest.raises(RuntimeError), model.frozen():
        raise RuntimeError
    assert torch.equal(model.encode_text(batch, one).words, before)


@pytest.mark.parametrize("frozen", range(LAYERS + 1))
def test_fusion_begins_where_the_cached_prefix_ends(frozen: int) -> None:
    assert [module.layer for module in tiny_model(frozen=frozen).fusions()] == list(range(frozen, LAYERS))


def test_every_parameter_is_the_backbones_or_in_one_group() -> None:
    model = tiny_model(tasks=2)
    grouped = [id(p) for group in model.groups().values() for p in group]
    backbone = [id(p) for p in model.backbone_parameters()]
    assert sorted(grouped + backbone) == sorted(id(p) for p in model.parameters())


def test_the_backbone_has_as_many_parameters_as_clip() -> None:
    ours = sum(p.numel() for p in tiny_model(tasks=2).backbone_parameters())
    assert ours == sum(p.numel() for p in tiny_clip().parameters())


def test_equal_keys_give_equal_task_prototypes() -> None:
    assert torch.equal(tiny_model(tasks=1).task_prototypes[0], tiny_model(tasks=2).task_prototypes[0])


def test_two_tasks_have_different_prototypes() -> None:
    assert not torch.equal(*tiny_model(tasks=2).task_prototypes)


@torch.no_grad()
def test_a_video_has_one_embedding_a_frame() -> None:
    states = noise(2, FRAMES, 1 + PATCHES, WIDTH)
    assert tiny_model().encode_frames(states).shape == (2, FRAMES, DIM)


def test_trimming_leaves_out_only_columns_without_a_word() -> None:
    mask = torch.tensor([[False, True, False, False, False], [False, True, True, False, False]])
    text = TextEmbeddings(noise(2, 5, 3), mask, noise(2, 3))
    assert torch.equal(text.trimmed().words, text.words[:, :3])
    assert torch.equal(text.trimmed().mask, mask[:, :3])
    assert TextEmbeddings(text.words, mask & False, text.sentence).trimmed().mask.shape == (2, 1)


def test_a_map_of_words_sees_no_padding() -> None:
    words, mask = noise(2, 3, 4), torch.tensor([[True, False, True], [False, True, False]])
    seen: list[Tensor] = []

    def change(x: Tensor) -> Tensor:
        seen.append(x)
        return 2 * x + 1

    mapped = TextEmbeddings(words, mask, noise(2, 4)).mapped(change)
    assert torch.equal(mapped, torch.where(mask[..., None], 2 * words + 1, 0))
    assert torch.equal(seen[0], words[mask])


class Stacks(TorchDispatchMode):
    """Notes how many tensors each operation stacks."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.sizes: list[int] = []

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if operation is torch.ops.aten.stack.default:
            self.sizes.append(len(args[0]))
        return operation(*args, **kwargs or {})


def routed_model(module: str) -> VideoText:
    """A model of two tasks in which `module` changes what text gives."""
    shape = ModelConfig(FRAMES, 1, rank=2, alpha=6.0, experts=3, dropout=0.0, etf_dim=20, modules=(module,))
    model = VideoText(tiny_clip(), shape, seed=0)
    for task in (1, 2):
        model.add_task("tiny", task)
    return shaken(model).eval()


@pytest.mark.parametrize(("module", "kinds", "each"), [("lora", 1, 3), ("task_lora", 2, 2)])
def test_the_adapters_of_all_layers_are_stacked_at_once(module: str, kinds: int, each: int) -> None:
    model, projections = routed_model(module), 4
    with Stacks() as stacks, model.stacked_once():
        model.encode_text(tokens([5, 6, 7], [8]), torch.tensor([2, 1]))
    assert [size for size in stacks.sizes if size >= projections * each] == kinds * [LAYERS * projections * each]


@pytest.mark.parametrize("module", ["lora", "task_lora"])
def test_adapters_that_are_stacked_at_once_get_the_same_gradients(module: str) -> None:
    model, found = routed_model(module), []
    learning = [p for group in model.groups().values() for p in group]
    for stacked in (model.stacked_once(), nullcontext()):
        with stacked:
            text = model.encode_text(tokens([5, 6, 7], [8]), torch.tensor([2, 1]))
        found.append(torch.autograd.grad(text.words.square().sum(), learning, allow_unused=True))
    assert all((a is b) if a is None or b is None else torch.equal(a, b) for a, b in zip(*found, strict=True))
    assert any(a is not None for a in found[0])
