from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tiny import ETF_DIM, FRAMES, LAYERS, noise, shaken, tiny_clip, tokens
from torch import Tensor, nn

from structalign.errors import UserError
from structalign.model.released_names import from_released, read_released, to_released
from structalign.model.video_text import ModelConfig, VideoText

LIKE = ModelConfig(FRAMES, 1, 0, 8.0, 0, 0.1, 0, head="frozen_random", words="with_padding")


def model_of(head: str = "frozen_random", parts: tuple[str, ...] = ("fusion", "lora")) -> VideoText:
    """A model after two tasks, with no parameter at its initial value."""
    model = VideoText(tiny_clip(), ModelConfig(FRAMES, 1, 2, 8.0, 3, 0.1, ETF_DIM, parts, head=head), 0)
    for task in range(2):
        model.add_task("tiny", task)
    return shaken(model).eval()


def released_state() -> dict[str, Tensor]:
    """A state as the authors' code saves it, with unused fusion parameters and its own temperature."""
    state = {name: tensor.clone() for name, tensor in to_released(model_of(), {}).items()}
    state["clipmodel.vision_model.encoder.layers.0.self_attn.alpha"] = torch.tensor([0.25])
    state["clipmodel.logit_scale"] = torch.tensor(4.6)
    return state


def expected_names() -> set[str]:
    """The names in the authors' files, for two tasks, three experts and three layers of each tower."""
    names = {f"clipmodel.{name}" for name in tiny_clip().model.state_dict()} | {"etf_proj1.weight", "etf_proj2.weight"}
    names |= {f"clipmodel.{tower}_model.embeddings.position_ids" for tower in ("text", "vision")}
    names |= {f"clipmodel.text_model.task_prototype.{task}" for task in (0, 1)}
    for layer in range(LAYERS):
        for part in ("q", "k", "v", "out"):
            lora = f"clipmodel.text_model.encoder.layers.{layer}.self_attn.{part}_lora"
            names |= {f"{lora}.{name}.weight" for name in ("lora_A", "lora_route", "w_noise")}
            names |= {f"{lora}.lora_Bs.{expert}.weight" for expert in range(3)}
            fusion = f"clipmodel.vision_model.encoder.layers.{layer}.self_attn"
            names |= {f"{fusion}.frame_cross_attention.{part}_proj.{kind}" for kind in ("weight", "bias")}
            names |= {f"{fusion}.alpha"}
    return names


def test_a_released_file_has_the_authors_names() -> None:
    assert set(to_released(model_of(), {})) == expected_names()


def test_a_released_file_is_imported_and_exported_with_equal_bits() -> None:
    state = released_state()
    model, kept = from_released(state, tiny_clip(), LIKE)
    back = to_released(model, kept)
    assert set(back) == set(state)
    assert all(torch.equal(back[name], tensor) for name, tensor in state.items())


@torch.no_grad()
def test_an_imported_model_encodes_as_the_exported_one() -> None:
    before = model_of()
    after, _ = from_released(to_released(before, {}), tiny_clip(), LIKE)
    states, batch, two = noise(1, FRAMES, 5, 32), tokens([5, 6, 7], [8, 9]), torch.tensor([1, 2])
    assert torch.equal(after.encode_frames(states), before.encode_frames(states))
    assert torch.equal(after.encode_text(batch, two).sentence, before.encode_text(batch, two).sentence)


def test_rank_experts_and_etf_dimension_are_read_from_the_file() -> None:
    model, _ = from_released(released_state(), tiny_clip(), LIKE)
    assert (model.config.rank, model.config.experts, model.config.etf_dim) == (2, 3, ETF_DIM)
    assert len(model.task_prototypes) == 2


def test_position_buffers_may_be_left_out() -> None:
    state = {name: x for name, x in released_state().items() if "position_ids" not in name}
    from_released(state, tiny_clip(), LIKE)


def test_a_shared_head_is_exported_as_both_heads() -> None:
    state = to_released(model_of("shared"), {})
    assert torch.equal(state["etf_proj1.weight"], state["etf_proj2.weight"])


def test_a_model_with_other_parts_cannot_be_exported() -> None:
    with pytest.raises(UserError, match=r"no place for .*moe"):
        to_released(model_of(parts=("moe",)), {})


def test_unknown_missing_and_wrongly_shaped_names_are_listed_in_one_sentence() -> None:
    state = released_state()
    layer = "clipmodel.text_model.encoder.layers.1.self_attn"
    del state[f"{layer}.k_lora.lora_route.weight"], state["etf_proj2.weight"]
    state[f"{layer}.v_lora.lora_A.weight"] = torch.zeros(2, 31)
    state["clipmodel.extra"] = state["clipmodel.embeddings.position_ids"] = torch.zeros(1)
    with pytest.raises(UserError) as refusal:
        from_released(state, tiny_clip(), LIKE, "file.pth")
    assert str(refusal.value) == (
        "file.pth does not fit the backbone and the adapters: "
        "unknown are clipmodel.embeddings.position_ids, clipmodel.extra; "
        f"missing are {layer}.k_lora.lora_route.weight, etf_proj2.weight; "
        f"wrongly shaped are {layer}.v_lora.lora_A.weight [2, 31] instead of [2, 32]."
    )


def test_a_file_of_other_sizes_is_refused_with_a_count() -> None:
    state = released_state()
    strange = {f"strange.{number:02d}": torch.zeros(1) for number in range(20)}
    with pytest.raises(UserError, match=r"unknown are strange\.00, .*, strange\.11 and 8 more\.$"):
        from_released(state | strange, tiny_clip(), LIKE)


def test_a_file_of_plain_clip_is_refused() -> None:
    state = {f"clipmodel.{name}": x for name, x in tiny_clip().model.state_dict().items()}
    with pytest.raises(UserError, match=r"it lacks the matrices .*q_lora\.lora_A\.weight"):
        from_released(state, tiny_clip(), LIKE)


def test_another_clip_than_the_one_it_was_trained_on_is_refused() -> None:
    state = released_state()
    state["clipmodel.visual_projection.weight"] += 0.1
    with pytest.raises(UserError, match=r"another CLIP than the backbone given, clipmodel\.visual_projection\.weight"):
        from_released(state, tiny_clip(), LIKE)


# --- files ---


@pytest.mark.parametrize("name", ["file.safetensors", "file.pth", "wrapped.pth"])
def test_a_file_is_read_in_either_format(name: str, tmp_path: Path) -> None:
    state, file = released_state(), tmp_path / name
    if name.endswith(".safetensors"):
        save_file(state, file)
    else:
        torch.save({"state_dict": state, "epoch": 3} if name.startswith("wrapped") else state, file)
    read = read_released(file)
    assert set(read) == set(state)
    assert all(torch.equal(read[key], tensor) for key, tensor in state.items())


def test_a_file_that_would_run_code_is_not_loaded(tmp_path: Path) -> None:
    torch.save({"model": nn.Linear(2, 2)}, tmp_path / "code.pth")
    with pytest.raises(UserError, match=r"code\.pth can't be read as safetensors or as torch weights"):
        read_released(tmp_path / "code.pth")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gone\.pth can't be read"):
        read_released(tmp_path / "gone.pth")


def test_a_file_with_numbers_beside_tensors_is_refused(tmp_path: Path) -> None:
    torch.save({"epoch": 3}, tmp_path / "numbers.pth")
    with pytest.raises(UserError, match=r"numbers\.pth has no state dict"):
        read_released(tmp_path / "numbers.pth")
