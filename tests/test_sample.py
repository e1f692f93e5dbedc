"""The sample's captions are true, its words have two meanings in two tasks, and pre-training reads only some words."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import pytest

from sample import sprites
from sample.captions import captions, fits, vocabulary
from sample.catalogue import CATEGORIES, Thing, senses
from sample.corpus import Clip, all_clips, clips, long_tail, name_words, render, write_captions
from sample.held_out import by_kind
from sample.imbalance import copy
from sample.motions import MOTIONS
from sample.words import told_by_words
from structalign.sweep.tables import Row

needs_emoji = pytest.mark.skipif(
    not sprites.available(),
    reason="Drawing needs Debian's fonts-noto-color-emoji and unicode-data.",
)


def digest(path: Path) -> str:
    """The content hash of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


@needs_emoji
def test_clips_rendered_twice_are_the_same_bit_for_bit(tmp_path: Path) -> None:
    for clip in (clips(CATEGORIES[0])[0], clips(CATEGORIES[-1])[-1]):
        for folder in ("once", "again"):
            render(tmp_path / folder, clip)
        once, again = (digest(tmp_path / folder / "videos" / clip.video) for folder in ("once", "again"))
        assert once == again


def test_planning_twice_gives_the_same_clips_and_another_seed_gives_others() -> None:
    assert clips(CATEGORIES[3]) == clips(CATEGORIES[3])
    assert clips(CATEGORIES[3]) != clips(CATEGORIES[3], seed=1)


def every_clip(seed: int = 0, development: bool = False) -> list[Clip]:
    """The clips of all categories."""
    return [clip for category in CATEGORIES for clip in clips(category, seed, development)]


def texts_of(planned: list[Clip], *splits: str) -> list[str]:
    """The captions of some splits."""
    return [text for clip in split_of(planned, *splits) for text in clip.captions]


@pytest.mark.parametrize("motion", MOTIONS)
def test_captions_fit_their_scene(motion: str) -> None:
    words = {"left": "left", "right": "right", "spin": "", "swing": ""}
    for clip in every_clip():
        if clip.scene.motion == motion:
            for text in clip.captions:
                assert clip.scene.thing.phrase in text
                assert words.get(motion, "") in text
                told = text.replace("over and over", "").partition(" over ")[2]
                assert told in ("", clip.scene.background.phrase)


@pytest.mark.parametrize(("seed", "development"), [(0, False), (1, True)])
def test_no_test_caption_fits_two_test_videos(seed: int, development: bool) -> None:
    shown = split_of(every_clip(seed, development), "test")
    by_word: dict[str, list[Clip]] = {}
    for clip in shown:
        by_word.setdefault(clip.scene.thing.phrase, []).append(clip)
    for clip in shown:
        same_word = by_word[clip.scene.thing.phrase]
        assert all([other for other in same_word if fits(text, other.scene)] == [clip] for text in clip.captions)


def test_a_caption_fits_no_other_motion_and_no_other_background() -> None:
    scene = clips(CATEGORIES[0])[0].scene
    text = captions(scene, 8, Random(0))[-1]
    assert fits(text, scene)
    assert not fits(text, replace(scene, motion="spin" if scene.motion != "spin" else "up"))
    assert not fits(
        f"{text.partition(' over a ')[0]} over a plain black background",
        replace(scene, background=replace(scene.background, colour="white")),
    )


@pytest.mark.parametrize(("seed", "development"), [(0, False), (1, True)])
def test_no_test_caption_is_a_training_caption(seed: int, development: bool) -> None:
    planned = every_clip(seed, development)
    assert not {*texts_of(planned, "test")} & {*texts_of(planned, "train")}


def test_a_fifth_of_the_test_captions_is_about_things_that_no_training_caption_names() -> None:
    planned = every_clip()
    held_out = [clip for clip in split_of(planned, "test") if clip.scene.held_out]
    named = {clip.scene.thing.phrase for clip in split_of(planned, "train")}
    assert len(held_out) / len(split_of(planned, "test")) == 0.2
    assert not {clip.scene.thing.phrase for clip in held_out} & named


def test_every_other_thing_of_the_test_split_is_named_in_training() -> None:
    planned = every_clip()
    named = {(clip.category, clip.scene.thing) for clip in split_of(planned, "train")}
    shown = {(clip.category, clip.scene.thing) for clip in split_of(planned, "test") if not clip.scene.held_out}
    assert shown <= named


def test_a_shared_word_means_two_things_in_two_tasks() -> None:
    task = {category.name: number // 2 for number, category in enumerate(CATEGORIES)}
    for meanings in senses().values():
        places, things = zip(*meanings, strict=True)
        assert len(things) == 2
        assert things[0].emoji != things[1].emoji
        assert task[places[0]] != task[places[1]]


def test_no_thing_is_in_two_places_and_no_own_word_is_in_two() -> None:
    things: list[Thing] = [thing for c in CATEGORIES for thing in (*c.shared, *c.own)]
    own = [thing.phrase for c in CATEGORIES for thing in c.own]
    assert len({thing.emoji for thing in things}) == len(things)
    assert len({*own, *senses()}) == len(own) + len(senses())


def test_three_of_five_pairs_of_test_clips_differ_in_nothing_but_the_motion() -> None:
    for category in CATEGORIES:
        scenes = [clip.scene for clip in clips(category) if clip.split == "test"]
        pairs = list(zip(scenes[::2], scenes[1::2], strict=True))
        assert all(a.thing == b.thing and a.motion != b.motion for a, b in pairs)
        assert sum(a.background == b.background for a, b in pairs) == 6


def test_a_plural_thing_takes_a_plural_verb() -> None:
    texts = [text for c in CATEGORIES for seed in range(4) for clip in clips(c, seed) for text in clip.captions]
    assert any(text.startswith("socks ") for text in texts)
    assert not any(text.startswith(("socks moves", "a socks")) for text in texts)
    assert not any("[" in text or "{" in text for text in texts)


def test_words_predict_a_class_with_a_unique_word() -> None:
    train, label = ["a hog moves", "a cow moves", "a hog sits", "a cow sits"], np.array([0, 1, 0, 1])
    found = told_by_words(train, label, ["a cow spins", "a hog spins"], np.array([1, 0]))
    assert all(right.all() for right in found.values())


def test_words_do_not_predict_a_class_that_shares_all_its_words() -> None:
    train, label = ["a hog moves", "a hog moves"], np.array([0, 1])
    found = told_by_words(train, label, ["a hog moves", "a hog moves"], np.array([0, 1]))
    assert all(right.sum() == 1 for right in found.values())


@needs_emoji
def test_pretraining_never_reads_an_unread_word() -> None:
    webpairs, webnames = pytest.importorskip("sample.webpairs"), pytest.importorskip("sample.webnames")
    read = {word for s in webpairs.subjects() for word in s.phrase.lower().split()}
    assert "hog" in webnames.UNREAD
    assert not webnames.UNREAD & read


@needs_emoji
def test_pretraining_reads_no_shared_word_except_those_with_one_known_meaning() -> None:
    webpairs = pytest.importorskip("sample.webpairs")
    read = {word for s in webpairs.subjects() for word in s.phrase.lower().split()}
    assert len([word for word in senses() if word.split()[-1] not in read]) >= 20


@needs_emoji
def test_the_clip_knows_every_own_thing_by_the_name_that_captions_use() -> None:
    webpairs = pytest.importorskip("sample.webpairs")
    known = {s.emoji.replace("\ufe0f", ""): s.phrase for s in webpairs.subjects()}
    for thing in (thing for category in CATEGORIES for thing in category.own):
        assert known[thing.emoji.replace("\ufe0f", "")] == thing.phrase


@pytest.mark.parametrize(("ratio", "most"), [(10, 20), (50, 100)])
def test_a_long_tail_has_the_ratio_asked_for(ratio: int, most: int) -> None:
    sizes = long_tail(ratio).values()
    assert (max(sizes), min(sizes)) == (most, 2)


def test_a_long_tail_makes_categories_of_a_task_unequal_and_tasks_unequal() -> None:
    sizes = [*long_tail(50).values()]
    tasks = [sizes[i : i + 4] for i in range(0, 20, 4)]
    assert all(max(task) >= 3 * min(task) for task in tasks)
    assert max(map(sum, tasks)) >= 2 * min(map(sum, tasks))


def test_an_imbalanced_corpus_has_some_training_clips_of_the_even_one_and_the_same_others() -> None:
    even, uneven = (all_clips(1, development=True, imbalance=ratio) for ratio in (1, 10))
    assert split_of(uneven, "val", "test") == split_of(even, "val", "test")
    assert len(split_of(uneven, "train")) == 162
    assert all(clip in even for clip in split_of(uneven, "train"))


def test_only_videos_with_the_planned_captions_are_copied_from_another_corpus(tmp_path: Path) -> None:
    first, second = all_clips(1, development=True, imbalance=1)[:2]
    write_captions(tmp_path / "even", [first, replace(second, captions=("another", "corpus"))])
    for clip in (first, second):
        (tmp_path / "even/videos" / clip.video).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "even/videos" / clip.video).write_text(clip.video)
    copy(tmp_path / "even", [first, second], tmp_path / "target")
    found = [path for path in (tmp_path / "target").rglob("*") if path.is_file()]
    assert found == [tmp_path / "target/videos" / first.video]
    assert found[0].read_text() == first.video


def test_recall_is_split_by_held_out_objects() -> None:
    run = {
        "categories": {"t01": 1},
        "tasks": ["t01"] * 3,
        "category": [0, 0, 0],
        "training videos": {"0": 4},
        "videos": ["a.mp4", "b.mp4", "c.mp4"],
        "queries": [0, 0, 1, 2],
        "rows": {"it": {"rank": [1, 2, 1, 3], "rank in task": [1, 1, 1, 1], "v2t rank": [1, 1, 1]}},
    }
    found = by_kind(Row("it", "it", [run], {}), ["a.mp4", "unknown.mp4"])
    assert (found["held-out objects"], found["other objects"]) == (50.0, 50.0)
    assert (found["other objects_low"], found["other objects_high"]) == (0.0, 100.0)
    found = by_kind(Row("it", "it", [run], {}), ["b.mp4"])
    assert (found["held-out objects"], round(found["other objects"], 1)) == (100.0, 33.3)


def split_of(planned: list[Clip], *splits: str) -> list[Clip]:
    return [clip for clip in planned if clip.split in splits]


@pytest.mark.parametrize("size", [2, 24, 31])
def test_a_category_has_so_many_training_clips_each_under_its_own_name(size: int) -> None:
    found = clips(CATEGORIES[1], train=size)
    assert len(split_of(found, "train")) == size
    assert len({clip.video for clip in found}) == len(found)


@pytest.mark.parametrize("size", [2, 31])
def test_validation_and_test_clips_do_not_depend_on_the_number_for_training(size: int) -> None:
    few, many = (clips(CATEGORIES[1], train=count) for count in (size, 24))
    assert split_of(few, "val", "test") == split_of(many, "val", "test")


def test_a_larger_category_begins_with_the_clips_of_a_smaller_one() -> None:
    small, large = (split_of(clips(CATEGORIES[1], train=size), "train") for size in (3, 31))
    assert large[:3] == small


@pytest.mark.parametrize("development", [False, True])
def test_captions_have_no_word_outside_of_the_vocabulary(development: bool) -> None:
    texts = [text for c in CATEGORIES for clip in clips(c, development=development) for text in clip.captions]
    assert {word for text in texts for word in text.lower().split()} <= vocabulary()


def test_a_clip_beside_the_corpus_gets_its_words_and_keeps_its_settings(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "clip", "structalign_sample": ["zebra"], "x": 1}')
    (tmp_path / "cached").hardlink_to(tmp_path / "config.json")
    name_words(tmp_path)
    found = json.loads((tmp_path / "config.json").read_text())
    assert found == {"model_type": "clip", "structalign_sample": sorted(vocabulary()), "x": 1}
    assert "zebra" in (tmp_path / "cached").read_text()
