import json
import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import padded_words
from tiny import BOS, DIM, EOT, IMAGE, LAYERS, PATCHES, WIDTH, noise, tiny_clip, tokens
from toy import write_clip

from structalign.errors import UserError
from structalign.gathered import write_hashes
from structalign.model.backbone import Tokeniser, Tokens, load_clip

captions = st.lists(st.lists(st.integers(0, 37), max_size=6), min_size=1, max_size=4)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("depth", range(LAYERS + 1))
@torch.no_grad()
def test_prefix_then_suffix_is_clip_at_every_depth(depth: int, attention: str) -> None:
    clip = tiny_clip(attention)
    pixels = noise(2, 3, IMAGE, IMAGE)
    ours = clip.vision_suffix(clip.vision_prefix(pixels, depth), depth)
    theirs = clip.model.get_image_features(pixel_values=pixels).pooler_output  # type: ignore[operator]
    # the last layer computes the class token alone, in products of another shape: last bits differ
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=2e-6)


@torch.no_grad()
def test_the_prefix_of_full_depth_is_clip_to_the_bit() -> None:
    clip, pixels = tiny_clip(), noise(2, 3, IMAGE, IMAGE)
    theirs = clip.model.vision_model(pixel_values=pixels).last_hidden_state  # type: ignore[operator]
    assert torch.equal(clip.vision_prefix(pixels, LAYERS), theirs)


def test_recomputed_activations_give_the_same_gradients() -> None:
    clip = tiny_clip()
    states = clip.vision_prefix(noise(2, 3, IMAGE, IMAGE), 0)
    gradients = []
    for recompute in (False, True):
        clip.recompute = recompute
        given = states.clone().requires_grad_()
        clip.vision_suffix(given, 0).square().sum().backward()  # type: ignore[no-untyped-call]
        gradients.append(given.grad)
    assert gradients[0] is not None
    assert torch.equal(gradients[0], torch.as_tensor(gradients[1]))


@torch.no_grad()
def test_states_hold_the_class_token_and_every_patch() -> None:
    assert tiny_clip().vision_prefix(noise(2, 3, IMAGE, IMAGE), 1).shape == (2, 1 + PATCHES, WIDTH)


@torch.no_grad()
def test_the_sentence_of_clip_is_the_token_at_end_of_text() -> None:
    clip, batch = tiny_clip(), tokens([5, 6, 7], [8])
    ours = clip.text(batch)[torch.arange(2), batch.eot]
    theirs = clip.model.get_text_features(input_ids=batch.ids).pooler_output  # type: ignore[operator]
    torch.testing.assert_close(ours, theirs)


@torch.no_grad()
def test_a_later_token_does_not_change_an_earlier_token_of_clip() -> None:
    clip = tiny_clip()
    one, other = clip.text(tokens([5, 6, 7])), clip.text(tokens([5, 6, 9]))
    assert torch.equal(one[:, :3], other[:, :3])
    assert not torch.equal(one[:, 3], other[:, 3])


def test_clip_has_no_trainable_parameters() -> None:
    assert not any(p.requires_grad for p in tiny_clip().parameters())


@given(captions, st.integers(0, 3))
@settings(deadline=None)
def test_words_lie_strictly_between_start_and_the_first_end(rows: list[list[int]], pad: int) -> None:
    batch = tokens(*rows, pad=pad)
    for ids, mask in zip(batch.ids.tolist(), batch.word_mask().tolist(), strict=True):
        end = ids.index(EOT)
        words = [0 < i < end for i in range(len(ids))] if end > 1 else [i == end for i in range(len(ids))]
        assert mask == words


def test_an_id_of_zero_is_a_word() -> None:
    assert tokens([0, 5]).word_mask().tolist() == [[False, True, True, False]]


def test_a_caption_without_words_has_its_end_as_its_only_word() -> None:
    assert tokens([], [5, 6]).word_mask()[0].tolist() == [False, True, False, False]


@given(captions, st.integers(0, 3))
@settings(deadline=None)
def test_with_padding_words_follow_the_released_rule(rows: list[list[int]], pad: int) -> None:
    batch = tokens(*rows, pad=pad)
    for ids, eot, mask in zip(batch.ids.tolist(), batch.eot.tolist(), batch.words_with_padding(), strict=True):
        assert mask.nonzero()[:, 0].tolist() == padded_words(ids, eot)


def test_with_padding_the_padding_counts_and_an_exclamation_mark_does_not() -> None:
    assert tokens([0, 5], [6, 7, 8]).words_with_padding()[0].tolist() == [False, False, True, False, True]


def test_with_padding_a_caption_may_have_no_word() -> None:
    assert not tokens([]).words_with_padding().any()


def test_a_padding_mask_only_changes_the_padding() -> None:
    batch, clip = tokens([5], [6, 7, 8]), tiny_clip()
    plain, masked = clip.text(batch), clip.text(batch, padding_mask=True)
    torch.testing.assert_close(plain[batch.real()], masked[batch.real()])
    assert not torch.allclose(plain[0, -1], masked[0, -1])


def test_a_selection_of_captions_is_trimmed_to_its_longest() -> None:
    assert tokens([5, 6, 7], [8])[torch.tensor([1])].ids.tolist() == [[BOS, 8, EOT]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "clip"
    write_clip(path)
    return path


def test_a_long_caption_is_cut_and_keeps_its_end(folder: Path) -> None:
    tokeniser = Tokeniser(folder)
    batch = tokeniser(["a " * 500])
    assert (batch.ids.shape[1], int(batch.eot[0])) == (tokeniser.limit, tokeniser.limit - 1)


def test_captions_that_were_cut_are_counted_in_a_note(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tokeniser = Tokeniser(folder)
    tokens = tokeniser(["a", "a " * 500, "b " * 500])
    assert tokens.cut == 2
    tokeniser.warn_truncated(tokens, "features t01 train")
    assert capsys.readouterr().out.startswith("features t01 train: 2 captions with more than the ")


@pytest.mark.parametrize("special", ["<|endoftext|>", "<|startoftext|>"])
def test_a_special_token_in_a_caption_is_text_and_cuts_nothing(folder: Path, special: str) -> None:
    tokeniser = Tokeniser(folder)
    batch = tokeniser([f"a {special} b", "a", "b"])
    start, end = int(batch.ids[0, 0]), int(batch.ids[0, batch.eot[0]])
    words = batch.ids[0, 1 : int(batch.eot[0])].tolist()
    assert words[0] == batch.ids[1, 1]
    assert words[-1] == batch.ids[2, 1]
    assert len(words) > 10
    assert not {start, end} & set(words)


def test_a_character_that_the_vocabulary_lacks_is_left_out_with_a_note(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The tokenizer's unknown token is the end of the text."""
    small = shutil.copytree(folder, tmp_path / "clip")
    (small / "tokenizer.json").unlink()
    tokens = ["a", "b", "a</w>", "b</w>", "<|startoftext|>", "<|endoftext|>"]
    (small / "vocab.json").write_text(json.dumps({token: number for number, token in enumerate(tokens)}))
    tokeniser = Tokeniser(small)
    batch = tokeniser(["a c b", "b a"])
    assert batch.ids.tolist() == [[4, 2, 3, 5], [4, 3, 2, 5]]
    assert batch.unknown == 1
    tokeniser.warn_truncated(batch, "features t01 train")
    assert "1 caption with characters that this CLIP's vocabulary lacks" in capsys.readouterr().out


def test_a_short_caption_is_padded_with_the_end(folder: Path) -> None:
    batch = Tokeniser(folder)(["ab", "abcde"])
    end = int(batch.ids[0, batch.eot[0]])
    assert batch.ids[0, int(batch.eot[0]) :].unique().tolist() == [end]  # type: ignore[no-untyped-call]


def test_no_captions_give_no_rows(folder: Path) -> None:
    batch: Tokens = Tokeniser(folder)([])
    assert len(batch.ids) == 0


def test_a_folder_that_is_no_clip_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"{tmp_path.name}.*: name another CLIP"):
        load_clip(tmp_path)


def test_the_pipeline_s_copy_without_a_clip_leads_to_params_yaml(tmp_path: Path) -> None:
    write_hashes(tmp_path)
    with pytest.raises(UserError, match=r"set backbone\.name and run `dvc repro`"):
        load_clip(tmp_path)


def test_a_saved_clip_loads_with_its_projection(folder: Path) -> None:
    assert load_clip(folder).embedding_dim > 0


def test_the_tiny_clip_has_different_width_and_projection() -> None:
    assert tiny_clip().embedding_dim == DIM != WIDTH
