"""The sample comes out again as committed, and its captions tell the truth."""

import csv
import hashlib
import json
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from sample import sprites
from sample.captions import captions, vocabulary
from sample.catalogue import CATEGORIES, Category, every_thing, held_out_words
from sample.corpus import SEARCHED, SIZES, Clip, clips, long_tail, render, resized
from sample.motions import MOTIONS
from sample.scenes import plan

DATA = Path(__file__).parents[1] / "data"
FONT_BYTES = 10980856  # of the font that the sample was drawn with

needs_emoji = pytest.mark.skipif(
    not sprites.available(),
    reason="Drawing needs Debian's fonts-noto-color-emoji and unicode-data.",
)
needs_the_same_emoji = pytest.mark.skipif(
    not sprites.available() or sprites.FONT.stat().st_size != FONT_BYTES,
    reason="Drawing the same pixels needs fonts-noto-color-emoji 2.042 and unicode-data, of Debian 12.",
)
needs_data = pytest.mark.skipif(
    not (DATA / "captions.csv").exists(),
    reason="The sample is not checked out: run `dvc pull data`.",
)


def digest(path: Path) -> str:
    """The content hash of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def committed() -> list[dict[str, str]]:
    """The rows of the sample's captions."""
    with (DATA / "captions.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@needs_the_same_emoji
@needs_data
@pytest.mark.parametrize("category", [CATEGORIES[0], CATEGORIES[-1]], ids=lambda category: str(category.slug))
def test_clips_rendered_again_are_the_committed_ones_bit_for_bit(category: Category, tmp_path: Path) -> None:
    for clip in (clips(category)[0], clips(category)[-1]):
        render(tmp_path, clip)
        assert digest(tmp_path / "videos" / clip.video) == digest(DATA / "videos" / clip.video)


def test_planning_twice_gives_the_same_clips_and_another_seed_gives_others() -> None:
    assert clips(CATEGORIES[3]) == clips(CATEGORIES[3])
    assert clips(CATEGORIES[3]) != clips(CATEGORIES[3], seed=1)


@pytest.mark.parametrize("motion", MOTIONS)
def test_captions_name_what_the_scene_shows(motion: str) -> None:
    words = {"left": "left", "right": "right", "chase": " ", "meet": " "}
    for category in CATEGORIES:
        for scene in plan(category, category.things, 60, Random(category.slug)):
            if scene.motion != motion:
                continue
            texts = captions(scene, 8, Random(0))
            assert len(set(texts)) == 8
            for text in texts:
                assert scene.thing.phrase in text
                assert words.get(motion, "") in text
                assert scene.other is None or scene.other.phrase in text
                assert " over " not in text.replace("over and over", "") or (
                    text.endswith(f"over {scene.background.phrase}")
                )


def test_pairs_show_one_thing_in_two_motions_and_two_of_five_share_the_background() -> None:
    for category in CATEGORIES:
        scenes = [clip.scene for clip in clips(category) if clip.split == "test"]
        pairs = list(zip(scenes[::2], scenes[1::2], strict=True))
        assert all(a.thing == b.thing and a.motion != b.motion for a, b in pairs)
        assert sum(a.background == b.background for a, b in pairs) == 4


def test_no_two_test_clips_show_the_same_thing_in_the_same_motion() -> None:
    for category in CATEGORIES:
        scenes = [clip.scene for clip in clips(category) if clip.split == "test"]
        assert len({(scene.thing, scene.motion) for scene in scenes}) == len(scenes)


def test_a_plural_thing_takes_a_plural_verb() -> None:
    texts = [text for c in CATEGORIES for clip in clips(c) for text in clip.captions]
    assert any(text.startswith("scissors slide ") for text in texts)
    assert not any(text.startswith(("scissors slides", "a scissors")) for text in texts)
    assert not any("[" in text or "{" in text for text in texts)


def test_the_sentence_that_the_readme_searches_for_captions_a_bunny_hopping_right() -> None:
    found = [c for c in clips(CATEGORIES[0]) if c.split == "test" and SEARCHED in c.captions]
    assert len(found) == 1
    assert (found[0].scene.thing.phrase, found[0].scene.motion) == ("a bunny", "right")


def test_no_thing_is_in_both_corpora() -> None:
    assert len({thing.emoji for thing in every_thing()}) == len(every_thing())


@needs_emoji
def test_pretraining_never_reads_a_held_out_name() -> None:
    webpairs = pytest.importorskip("sample.webpairs")
    read = {word for s in webpairs.subjects() for word in s.phrase.lower().split()}
    assert "bunny" in held_out_words()
    assert not held_out_words() & read


@pytest.mark.parametrize(("ratio", "most"), [(10, 20), (50, 100)])
def test_a_long_tail_has_the_ratio_asked_for(ratio: int, most: int) -> None:
    sizes = long_tail(ratio).values()
    assert (max(sizes), min(sizes)) == (most, 2)


def test_a_long_tail_makes_categories_of_a_task_unequal_and_tasks_unequal() -> None:
    sizes = [*long_tail(50).values()]
    tasks = [sizes[i : i + 4] for i in range(0, 20, 4)]
    assert all(max(task) >= 3 * min(task) for task in tasks)
    assert max(map(sum, tasks)) >= 2 * min(map(sum, tasks))


def split_of(planned: list[Clip], *splits: str) -> list[Clip]:
    return [clip for clip in planned if clip.split in splits]


@pytest.mark.parametrize("size", [2, 16, 31])
def test_a_resized_category_has_so_many_training_clips_each_under_its_own_name(size: int) -> None:
    found = resized(clips(CATEGORIES[1]), CATEGORIES[1], size, seed=0, development=False)
    assert len(split_of(found, "train")) == size
    assert len({clip.video for clip in found}) == len(found)


@pytest.mark.parametrize("size", [2, 31])
def test_a_resized_category_keeps_its_validation_and_test_clips(size: int) -> None:
    planned = clips(CATEGORIES[1])
    found = resized(planned, CATEGORIES[1], size, seed=0, development=False)
    assert split_of(found, "val", "test") == split_of(planned, "val", "test")


def test_a_larger_category_holds_the_smaller_one() -> None:
    small, large = (resized(clips(CATEGORIES[1]), CATEGORIES[1], size, 0, False) for size in (3, 31))
    assert split_of(large, "train")[:3] == split_of(small, "train")


@pytest.mark.parametrize("development", [False, True])
def test_captions_have_no_word_outside_of_the_vocabulary(development: bool) -> None:
    texts = [text for c in CATEGORIES for clip in clips(c, development=development) for text in clip.captions]
    assert {word for text in texts for word in text.lower().split()} <= vocabulary()


@needs_data
def test_the_committed_clip_names_the_vocabulary_that_it_is_made_for() -> None:
    config = json.loads((DATA / "clip/config.json").read_text(encoding="utf-8"))
    assert config["structalign_sample"] == sorted(vocabulary())


@needs_data
def test_committed_captions_are_those_the_generator_plans() -> None:
    planned = [
        {"video": c.video, "caption": text, "category": c.category, "split": c.split}
        for category in CATEGORIES
        for c in clips(category)
        for text in c.captions
    ]
    assert committed() == planned


@needs_data
def test_committed_videos_are_920_in_20_categories_and_none_is_in_two_splits() -> None:
    split_of = {row["video"]: row["split"] for row in committed()}
    assert Counter(split_of.values()) == {name: 20 * size for name, size in SIZES.items()}
    assert len({row["category"] for row in committed()}) == 20
    files = {path.relative_to(DATA / "videos").as_posix() for path in DATA.rglob("*.mp4")}
    assert files == set(split_of)
    assert len({digest(DATA / "videos" / video) for video in split_of}) == 920


@needs_data
def test_the_committed_clip_loads_offline() -> None:
    transformers = pytest.importorskip("transformers")
    words = transformers.AutoTokenizer.from_pretrained(DATA / "clip", local_files_only=True)
    model = transformers.CLIPModel.from_pretrained(DATA / "clip", local_files_only=True)
    assert words.model_max_length == model.config.text_config.max_position_embeddings == 32
    assert model.config.text_config.eos_token_id == words.eos_token_id
    assert len(words) == model.config.text_config.vocab_size
