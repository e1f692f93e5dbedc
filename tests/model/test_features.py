from pathlib import Path

import torch
from tiny import DIM, FRAMES, PATCHES, WIDTH, noise, write_features
from torch import Tensor

from structalign.model.backbone import Tokens
from structalign.model.features import (
    CENTRE,
    Captions,
    Features,
    JoinedFeatures,
    write_captions,
    write_index,
    write_view,
)


def test_states_come_back_a_video_at_a_time(tmp_path: Path) -> None:
    features = write_features(tmp_path / "train", videos=3)
    expected = noise(FRAMES, 1 + PATCHES, WIDTH, seed=2).half().float()
    assert torch.equal(features.read(2), expected)


def test_every_view_has_its_own_states(tmp_path: Path) -> None:
    features = write_features(tmp_path / "train", videos=3)
    assert torch.equal(features.read(1, "view01"), noise(FRAMES, 1 + PATCHES, WIDTH, seed=201).half().float())


def test_frozen_frames_keep_every_bit(tmp_path: Path) -> None:
    features = write_features(tmp_path / "train", videos=3)
    assert torch.equal(features.zero_shot_frames()[2], noise(FRAMES, DIM, seed=52))


def test_captions_know_their_videos(tmp_path: Path) -> None:
    assert write_features(tmp_path / "train", videos=3, each=2).captions().video.tolist() == [0, 0, 1, 1, 2, 2]


def test_captions_keep_where_they_end(tmp_path: Path) -> None:
    assert write_features(tmp_path / "train", videos=3, each=1).captions().tokens.eot.tolist() == [3, 4, 5]


def test_a_split_without_videos_can_be_read(tmp_path: Path) -> None:
    write_view(tmp_path, CENTRE, [], [])
    write_index(tmp_path, [], 0, 0)
    assert len(Features(tmp_path)) == 0


def test_joined_splits_renumber_their_videos_and_keep_their_captions(tmp_path: Path) -> None:
    parts = [write_features(tmp_path / f"t{n}", videos=n, each=2) for n in (2, 3, 1)]
    joined = JoinedFeatures(parts)
    captions = joined.captions()
    assert len(joined) == 6
    assert captions.video.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    begins = (0, 2, 5)
    for part, begin in zip(parts, begins, strict=True):
        for video in range(len(part)):
            assert torch.equal(joined.read(begin + video), part.read(video))
    expected = torch.cat([part.captions().tokens.eot for part in parts])
    assert torch.equal(captions.tokens.eot, expected)


def test_joined_captions_of_different_lengths_are_padded_with_the_end_token(tmp_path: Path) -> None:
    end, parts = 9, []
    for name, ids in (("short", [1, 5, end, end]), ("long", [1, 6, 7, 8, end])):
        parts.append(write_features(tmp_path / name, videos=1))
        tokens = Tokens(torch.tensor([ids]), torch.tensor([ids.index(end)]))
        write_captions(tmp_path / name, Captions(tokens, torch.zeros(1, dtype=torch.int64), torch.zeros(1).long()))
    assert JoinedFeatures(parts).captions().tokens.ids.tolist() == [[1, 5, end, end, end], [1, 6, 7, 8, end]]


class Computed:
    """One video whose states are computed, not stored."""

    views = 1

    def __len__(self) -> int:
        return 1

    def read(self, video: int, view: str = CENTRE) -> Tensor:
        return torch.ones(2)

    def captions(self) -> Captions:
        raise NotImplementedError


def test_joined_videos_come_as_stored_if_they_are_stored(tmp_path: Path) -> None:
    part = write_features(tmp_path / "train", videos=1)
    joined = JoinedFeatures([part, Computed()])
    assert joined.stored(0).dtype == torch.float16
    assert torch.equal(joined.stored(0), part.stored(0))
    assert torch.equal(joined.stored(1), torch.ones(2))
