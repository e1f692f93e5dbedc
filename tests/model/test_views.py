import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from structalign.model.adapters import generator
from structalign.model.backbone import CPU
from structalign.model.views import _box, centre_crop, random_crop, view_of


def picture(height: int, width: int, frames: int = 2) -> Tensor:
    return torch.rand(frames, 3, height, width, generator=torch.Generator().manual_seed(0))


def centre_view(frames: Tensor, size: int) -> Tensor:
    return centre_crop(frames, size).view(CPU)


def random_view(frames: Tensor, size: int, flip: bool, source: torch.Generator) -> Tensor:
    return random_crop(frames, size, flip, source).view(CPU)


def test_the_centre_view_of_a_square_of_the_right_size_is_the_square() -> None:
    frames = picture(32, 32)
    assert torch.equal(centre_view(frames, 32), frames)


def test_the_centre_view_cuts_equal_margins() -> None:
    frames = picture(32, 48)
    assert torch.equal(centre_view(frames, 32), frames[..., 8:40])


@given(st.integers(8, 60), st.integers(8, 60))
@settings(deadline=None, max_examples=30)
def test_the_centre_view_is_a_square_of_its_size(height: int, width: int) -> None:
    assert centre_view(picture(height, width), 16).shape == (2, 3, 16, 16)


@pytest.mark.parametrize(("height", "width"), [(96, 48), (48, 96), (30, 90)])
def test_the_centre_view_keeps_the_picture_s_shape_and_shows_the_middle(height: int, width: int) -> None:
    # Both coordinates are painted as colours: a resize that changed the shape would show more or less of the long side.
    down, right = torch.linspace(0, 1, height), torch.linspace(0, 1, width)
    paint = torch.stack([down[:, None].expand(height, width), right.expand(height, width), torch.zeros(height, width)])
    view = centre_view(paint[None], 16)[0]
    for colour, side in ((0, height), (1, width)):
        share = min(height, width) / side
        assert float(view[colour].max() - view[colour].min()) == pytest.approx(share, abs=0.08)
        assert float(view[colour].mean()) == pytest.approx(0.5, abs=0.02)


def test_a_pattern_too_fine_for_a_view_becomes_grey() -> None:
    rows = torch.arange(64)
    board = ((rows[:, None] + rows) % 2).float().expand(1, 3, 64, 64)
    assert (centre_view(board, 13) - 0.5).abs().max() < 0.05
    for key in range(5):
        assert (random_view(board, 9, False, generator(key)) - 0.5).abs().max() < 0.05


def test_a_bicubic_overshoot_is_clipped() -> None:
    frames = (picture(20, 20) > 0.5).float()
    view = centre_view(frames, 32)
    assert (float(view.min()), float(view.max())) == (0.0, 1.0)


@given(st.integers(8, 60), st.integers(8, 60), st.integers(0, 50))
@settings(deadline=None, max_examples=30)
def test_a_random_view_is_a_square_of_its_size(height: int, width: int, key: int) -> None:
    assert random_view(picture(height, width), 16, True, generator(key)).shape == (2, 3, 16, 16)


def test_equal_keys_give_equal_views() -> None:
    frames = picture(40, 30)
    one, other = (random_view(frames, 16, True, generator(0, "view00", "a.mp4")) for _ in range(2))
    assert torch.equal(one, other)


def test_two_views_of_a_video_differ() -> None:
    frames = picture(40, 30)
    one, other = (random_view(frames, 16, False, generator(0, view, "a.mp4")) for view in ("view00", "view01"))
    assert not torch.equal(one, other)


def test_all_frames_of_a_video_get_one_crop() -> None:
    frame = picture(40, 30, frames=1)
    view = random_view(frame.repeat(3, 1, 1, 1), 16, True, generator(3))
    torch.testing.assert_close(view, view[:1].repeat(3, 1, 1, 1))


def test_a_crop_shows_at_least_half_of_the_picture() -> None:
    # Both coordinates are painted as colours, so that a crop's corners tell how much of the picture it shows.
    size = 64
    ramp = torch.linspace(0, 1, size)
    frames = torch.stack([ramp[:, None].expand(size, size), ramp.expand(size, size), torch.zeros(size, size)])[None]
    for key in range(50):
        view = random_view(frames, size, False, generator(key))
        height, width = (float(view[0, i].max() - view[0, i].min()) for i in (0, 1))
        assert 0.45 < height * width <= 1.0


@pytest.mark.parametrize("flip", [True, False])
def test_only_a_flipped_view_is_mirrored(flip: bool) -> None:
    frames = torch.linspace(0, 1, 40).expand(1, 3, 40, 40)
    views = [random_view(frames, 16, flip, generator(key)) for key in range(40)]
    backwards = sum(bool(view[0, 0, 0, 0] > view[0, 0, 0, -1]) for view in views)
    assert (8 < backwards < 32) if flip else backwards == 0


def test_crops_have_areas_from_a_half_and_shapes_from_three_to_four_up_to_four_to_three() -> None:
    boxes = [_box(400, 600, generator(key)) for key in range(300)]
    areas = [height * width / (400 * 600) for _, _, height, width in boxes]
    shapes = [math.log(width / height) for _, _, height, width in boxes]
    assert 0.49 < min(areas) < 0.55
    assert 0.85 < max(areas) <= 1
    assert math.log(0.74) < min(shapes) < math.log(0.8)
    assert math.log(1.25) < max(shapes) < math.log(1.35)
    assert all(top >= 0 and left >= 0 and top + h <= 400 and left + w <= 600 for top, left, h, w in boxes)
    assert len({top for top, _, _, _ in boxes}) > 50
    assert len({left for _, left, _, _ in boxes}) > 50


def test_a_picture_that_no_crop_fits_shows_its_middle_in_the_nearest_shape() -> None:
    assert _box(12, 400, generator(0)) == (0, 192, 12, 16)  # 4 to 3
    assert _box(400, 12, generator(0)) == (192, 0, 16, 12)  # 3 to 4


def test_a_view_is_mirrored_only_if_asked() -> None:
    brighter_to_the_right = np.tile(np.linspace(0, 255, 40, dtype=np.uint8)[None, None, :, None], (1, 30, 1, 3))
    keys = [(0, "view00", f"{number}.mp4") for number in range(12)]
    for asked in (None, False, True):
        ways = {} if asked is None else {"flip": asked}
        views = [view_of(brighter_to_the_right, 16, *key, **ways) for key in keys]  # type: ignore[arg-type]
        assert any(view[..., 0].mean() > view[..., -1].mean() for view in views) == bool(asked)
