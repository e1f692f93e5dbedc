from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tiny import CPU, FRAMES, IMAGE, NoiseFrames, tiny_clip, tiny_model, write_features

from structalign.model.features import CENTRE, Features, VideoSource
from structalign.model.sources import EmbeddingSource, PixelSource, load_batch, make_source
from structalign.model.video_text import VideoText
from structalign.model.views import view_of

STATISTICS = torch.full((3, 1, 1), 0.5), torch.full((3, 1, 1), 0.25)


def test_pixels_are_the_views_that_the_features_were_computed_from(tmp_path: Path) -> None:
    features = write_features(tmp_path / "f")
    pixels = PixelSource(features, NoiseFrames(1), IMAGE, STATISTICS, flip=True, seed=3, device=CPU)
    frames = NoiseFrames(1).frames(2)
    centre, seeded = view_of(frames, IMAGE), view_of(frames, IMAGE, 3, "view01", "0-2", flip=True)
    torch.testing.assert_close(pixels.read(2), (centre - 0.5) / 0.25)
    torch.testing.assert_close(pixels.read(2, "view01"), (seeded - 0.5) / 0.25)
    assert pixels.read(0).shape == (FRAMES, 3, IMAGE, IMAGE)


def test_a_batch_of_pixels_equals_its_views_read_one_by_one(tmp_path: Path) -> None:
    pixels = PixelSource(
        write_features(tmp_path / "f"), NoiseFrames(1), IMAGE, STATISTICS, flip=True, seed=3, device=CPU
    )
    shown = [(2, CENTRE), (0, "view01"), (2, "view00")]
    assert torch.equal(load_batch(pixels, shown), torch.stack([pixels.read(video, view) for video, view in shown]))


class Shorter(NoiseFrames):
    """Frames in which one video has a frame less than the others."""

    def frames(self, position: int) -> NDArray[np.uint8]:
        return super().frames(position)[position == 1 :]


def test_a_batch_of_videos_of_unequal_length_is_refused(tmp_path: Path) -> None:
    pixels = PixelSource(write_features(tmp_path / "f"), Shorter(1), IMAGE, STATISTICS, flip=True, seed=3, device=CPU)
    with pytest.raises(RuntimeError, match="size of tensor"):
        load_batch(pixels, [(0, CENTRE), (1, CENTRE)])


def test_embeddings_are_the_frozen_towers_of_every_view(tmp_path: Path) -> None:
    features, clip = write_features(tmp_path / "f"), tiny_clip()
    found = EmbeddingSource(features, clip, 1, CPU)
    with torch.no_grad():
        expected = clip.vision_suffix(features.read(1, "view00"), 1)
    torch.testing.assert_close(found.read(1, "view00"), expected)
    assert torch.equal(found.read(1, CENTRE), features.zero_shot_frames()[1])


def fresh(folder: Path) -> tuple[VideoSource, VideoText]:
    """A split without cached training views, for a model that reads cached states."""
    model = tiny_model()
    features = write_features(folder / "f", views=0)
    return make_source(model, features, NoiseFrames(1), STATISTICS, CPU, flip=True, seed=3), model


def test_without_cached_views_each_visit_is_a_new_crop_through_the_frozen_prefix(tmp_path: Path) -> None:
    videos, model = fresh(tmp_path)
    crop = (view_of(NoiseFrames(1).frames(2), IMAGE, 3, "view17", "0-2", flip=True) - 0.5) / 0.25
    with torch.no_grad():
        expected = model.clip.vision_prefix(crop, model.config.vision_frozen)
    torch.testing.assert_close(videos.read(2, "view17"), expected)
    assert not torch.allclose(videos.read(2, "view18"), expected)


def test_new_crops_go_through_the_frozen_prefix_in_the_precision_of_training(tmp_path: Path) -> None:
    model, features = tiny_model(), write_features(tmp_path / "f", views=0)
    shown = [(2, "view17"), (0, "view18")]
    found = {
        precision: load_batch(make_source(model, features, NoiseFrames(1), STATISTICS, CPU, True, 3, precision), shown)
        for precision in ("bf16", "fp32")
    }
    pixels = PixelSource(features, NoiseFrames(1), IMAGE, STATISTICS, True, 3, CPU).batch(shown)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        expected = model.clip.vision_prefix(pixels.flatten(0, 1), 1).view_as(found["bf16"])
    assert found["bf16"].dtype == torch.float32
    assert torch.equal(found["bf16"], expected.float())
    assert not torch.equal(found["bf16"], found["fp32"])


def test_cached_states_are_read_as_they_are_stored_and_make_the_same_batch(tmp_path: Path) -> None:
    features = write_features(tmp_path / "f")
    found = load_batch(features, [(1, "view00"), (0, CENTRE)])
    assert found.dtype == torch.float16
    assert torch.equal(found.float(), torch.stack([features.read(1, "view00"), features.read(0)]))


def test_a_visit_shows_the_same_crop_however_often_it_is_read(tmp_path: Path) -> None:
    videos, _ = fresh(tmp_path)
    assert torch.equal(videos.read(2, "view17"), videos.read(2, "view17"))


def test_without_cached_views_the_centre_is_the_cached_one(tmp_path: Path) -> None:
    videos, _ = fresh(tmp_path)
    assert torch.equal(videos.read(2), Features(tmp_path / "f").read(2))


def test_all_sources_of_a_split_have_equal_length_views_and_captions(tmp_path: Path) -> None:
    features = write_features(tmp_path / "f")
    pixels = PixelSource(features, NoiseFrames(1), IMAGE, STATISTICS, flip=False, seed=0, device=CPU)
    for videos in (pixels, EmbeddingSource(features, tiny_clip(), 1, CPU)):
        assert (len(videos), videos.views) == (len(features), features.views)
        assert torch.equal(videos.captions().video, features.captions().video)
