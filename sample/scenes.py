"""Plans which scenes the corpus shows and draws their frames."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import cycle, islice
from random import Random
from typing import Literal

from PIL import Image

from sample.backgrounds import Background
from sample.catalogue import Category, Thing
from sample.motions import FOR_TWO, HOPPING, MOTIONS, Placement, hopping, mirrored
from sample.sprites import sprite

Split = Literal["train", "val", "test"]

SIZE = 128
FRAMES = 24
_TRAIL = ((0.19, 0.12), (0.125, 0.22), (0.06, 0.36))  # how long ago, and how strongly it shows


@dataclass(frozen=True, slots=True)
class Scene:
    """One clip: a thing that does something, maybe with another, before a background."""

    thing: Thing
    motion: str
    background: Background
    verb: str
    other: Thing | None = None
    scale: float = 1.0
    shift: float = 0.0
    turned: bool = False


def plan(category: Category, things: Sequence[Thing], size: int, random: Random) -> list[Scene]:
    """Plan ``size`` scenes in pairs that show one thing in two motions.

    Two pairs of five share their background as well, so only the motion tells them apart. No thing
    does the same twice until it has done everything.
    """
    motions: dict[str, Iterator[str]] = {
        thing.emoji: cycle(random.sample([*MOTIONS], len(MOTIONS))) for thing in things
    }
    scenes: list[Scene] = []
    order = islice(cycle(random.sample(list(things), len(things))), (size + 1) // 2)
    for number, thing in enumerate(order):
        background = Background.draw(random)
        for motion in islice(motions[thing.emoji], 2):
            scenes.append(_scene(category, things, thing, motion, background, random))
            if number % 5 > 1:
                background = Background.draw(random)
    return scenes[:size]


def _scene(
    category: Category,
    things: Sequence[Thing],
    thing: Thing,
    motion: str,
    background: Background,
    random: Random,
) -> Scene:
    return Scene(
        thing=thing,
        motion=motion,
        background=background,
        verb=thing.verb or category.verb,
        other=random.choice([t for t in things if t != thing]) if motion in FOR_TWO else None,
        scale=random.uniform(0.88, 1.12),
        shift=random.uniform(-0.08, 0.08),
        turned=random.random() < 0.5,
    )


def frames(scene: Scene, size: int = SIZE, count: int = FRAMES) -> list[Image.Image]:
    """Draw the frames of a scene."""
    background = scene.background.paint(size)
    return [_frame(scene, background, number / (count - 1)) for number in range(count)]


def _frame(scene: Scene, background: Image.Image, time: float) -> Image.Image:
    picture = background.copy()
    now = _placements(scene, time)
    for ago, strength in _TRAIL:
        for thing, past, present in _cast(scene, _placements(scene, max(0.0, time - ago)), now):
            if replace(past, opacity=1.0) != replace(present, opacity=1.0):
                _draw(picture, thing, replace(past, opacity=strength * past.opacity))
    for thing, present, _ in _cast(scene, now, now):
        _draw(picture, thing, present)
    return picture


def _placements(scene: Scene, time: float) -> tuple[Placement, ...]:
    path = MOTIONS[scene.motion]
    if scene.verb in HOPPING:
        path = hopping(path)
    if scene.turned and scene.motion not in {"left", "right"}:
        path = mirrored(path)
    sideways = scene.motion in {"up", "down", "bounce"}
    return tuple(
        replace(
            p,
            x=p.x + scene.shift if sideways else p.x,
            y=p.y if sideways else p.y + scene.shift,
            size=p.size * scene.scale,
        )
        for p in path(time)
    )


def _cast(
    scene: Scene, first: tuple[Placement, ...], second: tuple[Placement, ...]
) -> Iterator[tuple[Thing, Placement, Placement]]:
    things = (scene.thing, scene.other) if scene.other else (scene.thing,)
    return zip(things, first, second, strict=True)


def _draw(picture: Image.Image, thing: Thing, where: Placement) -> None:
    side = round(where.size * picture.width)
    drawn = sprite(thing.emoji).resize((side, side), Image.Resampling.BILINEAR)
    against = {"left": 1, "right": -1, None: 0}[thing.faces]
    if where.heading and where.heading == against:
        drawn = drawn.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if where.angle:
        drawn = drawn.rotate(where.angle, Image.Resampling.BICUBIC)
    alpha = drawn.getchannel("A").point([round(value * where.opacity) for value in range(256)])
    corner = (
        round(where.x * picture.width - side / 2),
        round(where.y * picture.height - side / 2),
    )
    picture.paste(drawn.convert("RGB"), corner, alpha)
