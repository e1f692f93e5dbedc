from pathlib import Path

import torch
from tiny import CPU, FRAMES, IMAGE, NoiseFrames, tiny_clip, write_features

from structalign.model.features import CENTRE
from structalign.model.inputs import Embeddings, Pixels
from structalign.model.views import centre_view, seeded_view

STATISTICS = torch.full((3, 1, 1), 0.5), torch.full((3, 1, 1), 0.25)


def test_pixels_are_the_frames_views_as_the_features_were_made_of(tmp_path: Path) -> None:
    features = write_features(tmp_path / "f")
    pixels = Pixels(features, NoiseFrames(1), IMAGE, STATISTICS, flip=True, seed=3)
    frames = torch.from_numpy(NoiseFrames(1).frames(2)).permute(0, 3, 1, 2).float() / 255
    centre, seeded = centre_view(frames, IMAGE), seeded_view(frames, IMAGE, True, 3, "view01", "0-2")
    torch.testing.assert_close(pixels.states(2), (centre - 0.5) / 0.25)
    torch.testing.assert_close(pixels.states(2, "view01"), (seeded - 0.5) / 0.25)
    assert pixels.states(0).shape == (FRAMES, 3, IMAGE, IMAGE)


def test_embeddings_are_the_frozen_towers_of_every_view(tmp_path: Path) -> None:
    features, clip = write_features(tmp_path / "f"), tiny_clip()
    found = Embeddings(features, clip, 1, CPU)
    with torch.no_grad():
        expected = clip.vision_suffix(features.states(1, "view00"), 1)
    torch.testing.assert_close(found.states(1, "view00"), expected)
    assert torch.equal(found.states(1, CENTRE), features.frozen_frames()[1])


def test_a_split_has_the_same_length_views_and_captions_whatever_is_read(tmp_path: Path) -> None:
    features = write_features(tmp_path / "f")
    pixels = Pixels(features, NoiseFrames(1), IMAGE, STATISTICS, flip=False, seed=0)
    for videos in (pixels, Embeddings(features, tiny_clip(), 1, CPU)):
        assert (len(videos), videos.views) == (len(features), features.views)
        assert torch.equal(videos.captions().video, features.captions().video)
