"""The sample in a clone is that of its generator."""

import csv
import hashlib
import json
from collections import Counter
from pathlib import Path

import pytest

from sample import sprites
from sample.captions import vocabulary
from sample.catalogue import CATEGORIES, Category
from sample.corpus import SIZES, clips, render
from structalign.data.tasks import read_tasks, split_categories

ROOT = Path(__file__).parents[1]
DATA = ROOT / "data"
FONT_BYTES = 10980856  # of the font that the sample was drawn with

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


def rows(name: str) -> list[dict[str, str]]:
    """The rows of one of the sample's tables."""
    with (DATA / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@needs_the_same_emoji
@needs_data
@pytest.mark.parametrize("category", [CATEGORIES[0], CATEGORIES[-1]], ids=lambda category: str(category.slug))
def test_clips_rendered_again_are_the_committed_ones_bit_for_bit(category: Category, tmp_path: Path) -> None:
    for clip in (clips(category)[0], clips(category)[-1]):
        render(tmp_path, clip)
        assert digest(tmp_path / "videos" / clip.video) == digest(DATA / "videos" / clip.video)


@needs_data
def test_committed_captions_are_those_the_generator_plans() -> None:
    planned = [
        {"video": c.video, "caption": text, "category": c.category, "split": c.split}
        for category in CATEGORIES
        for c in clips(category)
        for text in c.captions
    ]
    assert rows("captions.csv") == planned


@needs_data
def test_the_committed_file_of_held_out_things_names_no_thing_of_a_training_caption() -> None:
    held_out = rows("held-out.csv")
    assert Counter(row["split"] for row in held_out) == {"val": 2 * len(CATEGORIES), "test": 4 * len(CATEGORIES)}
    training = [row["caption"] for row in rows("captions.csv") if row["split"] == "train"]
    assert not any(row["thing"] in caption for row in held_out for caption in training)


@needs_data
def test_committed_videos_are_1080_in_20_categories_and_none_is_in_two_splits() -> None:
    split_of = {row["video"]: row["split"] for row in rows("captions.csv")}
    assert Counter(split_of.values()) == {name: 20 * size for name, size in SIZES.items()}
    assert len({row["category"] for row in rows("captions.csv")}) == 20
    files = {path.relative_to(DATA / "videos").as_posix() for path in DATA.rglob("*.mp4")}
    assert files == set(split_of)
    assert len({digest(DATA / "videos" / video) for video in split_of}) == 1080


def test_the_committed_tasks_are_ten_of_two_categories_in_the_catalogue_s_order() -> None:
    assert read_tasks(ROOT / "tasks.yaml") == split_categories([category.name for category in CATEGORIES], 10)


@needs_data
def test_the_committed_clip_names_the_vocabulary_that_it_is_made_for() -> None:
    config = json.loads((DATA / "clip/config.json").read_text(encoding="utf-8"))
    assert config["structalign_sample"] == sorted(vocabulary())


@needs_data
def test_the_committed_clip_loads_offline() -> None:
    transformers = pytest.importorskip("transformers")
    words = transformers.AutoTokenizer.from_pretrained(DATA / "clip", local_files_only=True)
    model = transformers.CLIPModel.from_pretrained(DATA / "clip", local_files_only=True)
    assert words.model_max_length == model.config.text_config.max_position_embeddings == 32
    assert model.config.text_config.eos_token_id == words.eos_token_id
    assert len(words) == model.config.text_config.vocab_size
