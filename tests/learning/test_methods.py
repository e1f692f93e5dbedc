"""The loss of each method against a slow, plain version of its formula (docs/methods.md)."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny import CPU, FRAMES, begin_task, finish_task, second_task_of, settings, tiny_clip
from torch import Tensor
from torch.nn import functional as F

from structalign.learning.batches import Pairs
from structalign.learning.settings import Settings
from structalign.learning.trainer import Trainer
from structalign.learning.vocabulary import CAPTIONS as RANDOM
from structalign.learning.vocabulary import own_vocabulary, vocabulary
from structalign.model.adapters import generator
from structalign.model.backbone import Tokens
from structalign.model.checkpoint import build_model, read_config
from structalign.model.features import view_name
from structalign.model.text_encoding import encode_captions
from structalign.model.video_text import VideoText

CAPTIONS = torch.tensor([0, 3, 4])  # of videos 0, 1 and 2
KEY = (0, 2, 7)  # seed, task, step
T = 2.0


def pairs_of(trainer: Trainer) -> Pairs:
    video = trainer.captions.video[CAPTIONS]
    return Pairs(CAPTIONS, video, video % 2)


def term(trainer: Trainer, name: str) -> float:
    """The loss on the three pairs, without dropout."""
    trainer.model.eval()
    return trainer.losses(pairs_of(trainer), *KEY)[name].item()


def moved(trainer: Trainer) -> Trainer:
    """The same trainer, after changing its student so that it differs from its teacher."""
    source = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameters in trainer.model.learning(trainer.number).values():
            for p in parameters:
                p.add_(torch.randn(p.shape, generator=source) * 0.03)
    return trainer


def teacher_of(folder: Path, number: int) -> VideoText:
    """The model of the checkpoint after task `number`."""
    model = build_model(tiny_clip(), read_config(folder / str(number)), folder / str(number))
    assert model is not None
    return model


@torch.no_grad()
def sides(trainer: Trainer, model: VideoText, task: int) -> tuple[list[Tensor], list[Tensor]]:
    """Unit sentences and unit mean videos of the three pairs as `model` encodes them."""
    text = encode_captions(model, trainer.captions.tokens, task, CPU)
    videos = []
    for video in pairs_of(trainer).video.tolist():
        frames = model.encode_frames(trainer.features.read(video, view_name(video % 2))[None])[0]
        videos.append(F.normalize(torch.stack([F.normalize(frame, dim=0) for frame in frames]).mean(dim=0), dim=0))
    return [F.normalize(text.sentence[int(c)], dim=0) for c in CAPTIONS], videos


def rows_of(some: list[Tensor], others: list[Tensor], scale: float) -> list[list[float]]:
    return [[scale * float(one @ other) for other in others] for one in some]


def softmax(row: list[float]) -> list[float]:
    exponents = [math.exp(x / T) for x in row]
    return [e / sum(exponents) for e in exponents]


def divergence(teacher: list[list[float]], student: list[list[float]]) -> float:
    """T^2 times the mean over rows of KL(softmax(teacher / T) || softmax(student / T)), in loops."""
    total = 0.0
    for taught, learned in zip(teacher, student, strict=True):
        for p, q in zip(softmax(taught), softmax(learned), strict=True):
            total += p * math.log(p / q)
    return T**2 * total / len(teacher)


# --- CLIP4Clip ---


def test_clip4clips_loss_is_that_of_mean_pooled_frames(tmp_path: Path) -> None:
    trainer = begin_task(tmp_path, "clip4clip", 1)
    texts, videos = sides(trainer, trainer.model, 1)
    logits = rows_of(texts, videos, float(trainer.model.clip.temperature))
    expected = 0.0
    for i in range(3):
        expected += (math.log(sum(math.exp(x) for x in logits[i])) - logits[i][i]) / 3
        expected += (math.log(sum(math.exp(row[i]) for row in logits)) - logits[i][i]) / 3
    assert term(trainer, "contrastive") == pytest.approx(expected, rel=1e-4)


def test_all_of_clip_learns_from_the_first_layer_to_the_temperature(tmp_path: Path) -> None:
    trainer = begin_task(tmp_path, "clip4clip", 1)
    before = {name: p.detach().clone() for name, p in trainer.model.clip.model.named_parameters()}
    trainer.fit(lambda row: None)
    after = dict(trainer.model.clip.model.named_parameters())
    still = {name for name in before if torch.equal(before[name], after[name])}
    assert {name for name in still if not name.endswith("k_proj.bias")} == set()


def test_frozen_clip_has_the_weights_from_before_training(tmp_path: Path) -> None:
    trainer = finish_task(tmp_path, begin_task(tmp_path, "clip4clip", 1))
    with trainer.model.frozen():
        again = {name: p.clone() for name, p in trainer.model.clip.model.named_parameters()}
    assert all(torch.equal(again[name], p) for name, p in tiny_clip().model.named_parameters())


# --- LwF, VR-LwF, ZSCL ---


def test_lwf_keeps_the_previous_model_s_relations_in_both_directions(tmp_path: Path) -> None:
    trainer = moved(second_task_of(tmp_path, "lwf"))
    scale = float(trainer.model.clip.temperature)
    taught_texts, taught_videos = sides(trainer, teacher_of(tmp_path, 1), 1)
    texts, videos = sides(trainer, trainer.model, 2)
    by_text = divergence(rows_of(taught_texts, taught_videos, scale), rows_of(texts, videos, scale))
    by_video = divergence(rows_of(taught_videos, taught_texts, scale), rows_of(videos, texts, scale))
    assert term(trainer, "lwf") == pytest.approx((by_text + by_video) / 2, rel=1e-3)


@pytest.mark.parametrize("method", ["lwf", "vr_lwf"])
def test_the_distillation_loss_is_zero_before_the_first_step(tmp_path: Path, method: str) -> None:
    assert term(second_task_of(tmp_path, method), method) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("method", ["lwf", "vr_lwf", "stablefusion"])
def test_the_first_task_only_has_the_contrastive_loss(tmp_path: Path, method: str) -> None:
    trainer = begin_task(tmp_path, method, 1)
    assert set(trainer.losses(pairs_of(trainer), *KEY)) == {"contrastive"}


def test_vr_lwf_keeps_each_videos_relations_to_random_captions(tmp_path: Path) -> None:
    trainer = moved(second_task_of(tmp_path, "vr_lwf"))
    scale, random = float(trainer.model.clip.temperature), vocabulary(trainer)
    due = torch.tensor([(7 * 3 + i) % RANDOM for i in range(3)])  # the eighth step's three
    teacher = teacher_of(tmp_path, 1)
    both = []
    for model in (teacher, trainer.model):
        texts = F.normalize(encode_captions(model, random[due], 2, CPU).sentence, dim=1)
        both.append(rows_of(sides(trainer, model, 2)[1], list(texts), scale))
    assert term(trainer, "vr_lwf") == pytest.approx(divergence(*both), rel=1e-3)


def test_the_vocabulary_is_random_captions_and_the_same_in_every_task(tmp_path: Path) -> None:
    trainer = second_task_of(tmp_path, "vr_lwf")
    first, second = vocabulary(begin_task(tmp_path, "vr_lwf", 1)), vocabulary(trainer)
    assert torch.equal(first.ids, second.ids)
    start, end = trainer.captions.tokens.ids[0, 0], trainer.captions.tokens.ids[0, trainer.captions.tokens.eot[0]]
    assert bool(((first.ids[:, 0] == start) & (first.ids[:, -1] == end)).all())
    assert not bool(torch.isin(first.ids[:, 1:-1], torch.stack([start, end])).any())
    assert len(torch.unique(first.ids, dim=0)) == RANDOM


def test_task_lora_makes_each_caption_win_against_random_ones(tmp_path: Path) -> None:
    trainer = moved(second_task_of(tmp_path, "task_lora"))
    trainer.model.eval()
    due = torch.tensor([(7 * 3 + i) % RANDOM for i in range(3)])
    random = encode_captions(trainer.model, own_vocabulary(trainer)[due], 2, CPU)
    text = encode_captions(trainer.model, trainer.captions.tokens[CAPTIONS], 2, CPU)
    total = 0.0
    for i, video in enumerate(trainer.captions.video[CAPTIONS].tolist()):
        with torch.no_grad():
            frames = trainer.model.encode_frames(trainer.features.read(video, view_name(video % 2))[None])[0]
        scores = [similarity(text.words[i][text.mask[i]], frames)]
        scores += [similarity(random.words[r][random.mask[r]], frames) for r in range(3)]
        total -= math.log(math.exp(17.6 * scores[0]) / sum(math.exp(17.6 * score) for score in scores))
    assert term(trainer, "random_negatives") == pytest.approx(total / 3, rel=1e-3)


def similarity(words: Tensor, frames: Tensor) -> float:
    """Half the mean over words of the cosine to their best frame, and half the mean over frames to their best word."""
    cosines = [[float(F.cosine_similarity(word, frame, dim=0)) for frame in frames] for word in words]
    by_word = sum(max(row) for row in cosines) / len(words)
    by_frame = sum(max(column) for column in zip(*cosines, strict=True)) / len(frames)
    return float(by_word + by_frame) / 2


def test_task_loras_random_captions_have_the_words_of_the_tasks_own(tmp_path: Path) -> None:
    trainer = second_task_of(tmp_path, "task_lora")
    tokens, random = trainer.captions.tokens, own_vocabulary(trainer)
    words = {word for ids, end in zip(tokens.ids.tolist(), tokens.eot.tolist(), strict=True) for word in ids[1:end]}
    assert set(random.ids[:, 1:-1].flatten().tolist()) == words
    assert set(random.ids[:, 0].tolist()) == {int(tokens.ids[0, 0])}
    assert set(random.ids[:, -1].tolist()) == {int(tokens.ids[0, tokens.eot[0]])}


def test_zscl_distils_frozen_clip_on_new_videos_and_new_texts(tmp_path: Path) -> None:
    trainer = moved(second_task_of(tmp_path, "zscl"))
    scale = float(trainer.model.clip.temperature)
    with trainer.model.frozen():
        frozen_texts, frozen_videos = sides(trainer, trainer.model, 1)
    texts, videos = sides(trainer, trainer.model, 2)
    by_video = divergence(rows_of(frozen_videos, frozen_texts, scale), rows_of(videos, frozen_texts, scale))
    by_text = divergence(rows_of(frozen_texts, frozen_videos, scale), rows_of(texts, frozen_videos, scale))
    assert term(trainer, "zscl") == pytest.approx((by_video + by_text) / 2, rel=1e-3)


def test_zscl_ends_a_task_with_the_mean_of_its_weights(tmp_path: Path) -> None:
    """Twelve steps are too few to average every second one, so the average has the start and every step."""
    act = settings(1, epochs=4, batch=2)
    trainer = begin_task(tmp_path, "zscl", 1, act)
    watched = next(p for p in trainer.model.learning(1)["tower"] if p.dim() == 2)
    seen = [watched.detach().clone()]
    trainer.fit(lambda row: seen.append(watched.detach().clone()))
    assert len(seen) == 13
    torch.testing.assert_close(watched.detach(), torch.stack(seen).mean(dim=0))


# --- StableFusion ---


def test_stablefusion_ranks_captions_among_the_batch_and_some_stored_past_videos(tmp_path: Path) -> None:
    trainer = second_task_of(tmp_path, "stablefusion", settings(2, batch=4))
    trainer.model.eval()
    with torch.no_grad():
        text, frames = trainer.embed(pairs_of(trainer))
    videos = [F.normalize(f.mean(dim=0), dim=0) for f in frames]
    past = [trainer.memory.extra["videos"][(7 * 4 + i) % 6] for i in range(4)]
    con, against = 0.0, 0.0
    for i, sentence in enumerate(F.normalize(text.sentence, dim=1)):
        logits = [math.exp(4.6) * float(sentence @ video) for video in (*videos, *past)]
        against += (math.log(sum(math.exp(x) for x in logits)) - logits[i]) / 3
        con += (math.log(sum(math.exp(x) for x in logits[:3])) - logits[i]) / 3
        columns = [math.exp(4.6) * float(other @ videos[i]) for other in F.normalize(text.sentence, dim=1)]
        con += (math.log(sum(math.exp(x) for x in columns)) - columns[i]) / 3
    found = trainer.losses(pairs_of(trainer), *KEY)
    assert found["contrastive"].item() == pytest.approx(0.4 * con, rel=1e-3)
    assert found["stored"].item() == pytest.approx(0.6 * against, rel=1e-3)


# --- replay ---


def test_replay_adds_remembered_pairs_routed_as_their_own_task(tmp_path: Path) -> None:
    trainer = moved(second_task_of(tmp_path, "replay"))
    found = term(trainer, "contrastive")
    memory, model = trainer.memory, trainer.model
    rows = torch.randperm(4, generator=generator("past", *KEY))[:3]
    with torch.no_grad():
        text, frames = trainer.embed(pairs_of(trainer))
        texts = [words[mask] for words, mask in zip(text.words, text.mask, strict=True)]
        videos = list(frames)
        for row in rows.tolist():
            one = Tokens(memory.extra["pair_ids"][row : row + 1], memory.extra["pair_eot"][row : row + 1])
            past = model.encode_text(one, torch.tensor([1]))
            texts.append(past.words[0][past.mask[0]])
            videos.append(model.encode_frames(memory.extra["pair_states"][row : row + 1].float())[0])
    logits = [[17.6 * word_frame(words, video) for video in videos] for words in texts]
    expected = 0.0
    for i in range(6):
        expected += (math.log(sum(math.exp(x) for x in logits[i])) - logits[i][i]) / 6
        expected += (math.log(sum(math.exp(row[i]) for row in logits)) - logits[i][i]) / 6
    assert found == pytest.approx(expected, rel=1e-4)


def word_frame(words: Tensor, frames: Tensor) -> float:
    """s of one caption and one video, in loops."""
    cosine = [[float(F.cosine_similarity(w, f, dim=0)) for f in frames] for w in words]
    by_word = sum(max(row) for row in cosine) / len(words)
    by_frame = sum(max(column) for column in zip(*cosine, strict=True)) / len(frames)
    return float(by_word + by_frame) / 2


# --- MoE-Adapter ---


def act_of_experts(number: int, experts: int) -> Settings:
    act = settings(number, epochs=4, batch=2)
    return replace(act, adapters=act.adapters.model_copy(update={"experts": experts}))


def test_the_most_used_experts_are_frozen_after_a_task(tmp_path: Path) -> None:
    finish_task(tmp_path, begin_task(tmp_path, "moe_adapter", 1, act_of_experts(1, 6)))
    trainer = begin_task(tmp_path, "moe_adapter", 2, act_of_experts(2, 6))
    before = [[(a.detach().clone(), b.detach().clone()) for a, b in zip(m.lora_As, m.lora_Bs, strict=True)]
              for m in trainer.model.moes()]  # fmt: skip
    trainer.fit(lambda row: None)
    one = teacher_of(tmp_path, 1)
    for moe, held, old in zip(trainer.model.moes(), before, one.moes(), strict=True):
        most = set(old.chosen.topk(2).indices.tolist())
        still = {
            e for e, (a, b) in enumerate(held) if torch.equal(a, moe.lora_As[e]) and torch.equal(b, moe.lora_Bs[e])
        }
        assert most <= still
        assert len(still) < 6


def test_a_task_only_trains_its_own_router(tmp_path: Path) -> None:
    trainer = second_task_of(tmp_path, "moe_adapter", settings(2, epochs=4))
    before = [moe.routers[0].detach().clone() for moe in trainer.model.moes()]
    own = [moe.routers[1].detach().clone() for moe in trainer.model.moes()]
    trainer.fit(lambda row: None)
    assert all(torch.equal(moe.routers[0], old) for moe, old in zip(trainer.model.moes(), before, strict=True))
    assert not any(torch.equal(moe.routers[1], old) for moe, old in zip(trainer.model.moes(), own, strict=True))


# --- head_only ---


def test_head_only_runs_no_tower_in_a_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = second_task_of(tmp_path, "head_only")
    for name in ("vision_prefix", "vision_suffix", "text"):
        monkeypatch.setattr(trainer.model.clip, name, None)
    trainer.fit(lambda row: None)


def test_head_only_reads_frozen_clips_embeddings_through_two_maps(tmp_path: Path) -> None:
    trainer = moved(begin_task(tmp_path, "head_only", 1))
    model, features = trainer.model, trainer.features
    assert model.text_map is not None
    assert model.video_map is not None
    frozen = tiny_clip()
    with torch.no_grad():
        text, frames = trainer.embed(Pairs(CAPTIONS, torch.tensor([0, 1, 2]), torch.zeros(3, dtype=torch.int64)))
        words = frozen.text(trainer.captions.tokens[CAPTIONS])
        for row, (found, mask) in enumerate(zip(text.words, text.mask, strict=True)):
            plain = words[row][mask[: words.shape[1]].nonzero()[:, 0]]
            torch.testing.assert_close(
                found[mask], plain + plain @ model.text_map.linear.weight.T, rtol=1e-4, atol=1e-5
            )
        for video in range(3):
            plain = features.read(video, view_name(0))
            assert plain.shape[0] == FRAMES
            expected = plain + plain @ model.video_map.linear.weight.T
            torch.testing.assert_close(frames[video], expected, rtol=1e-4, atol=1e-5)
