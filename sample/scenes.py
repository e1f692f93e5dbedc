"""Plans which scenes the corpus shows and draws their frames."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import cycle
from random import Random
from typing import Literal

from PIL import Image

from sample.backgrounds import Background
from sample.catalogue import Category, Thing, senses
from sample.motions import MOTIONS, Placement, mirrored
from sample.sprites import sprite

Split = Literal["train", "val", "test"]

SIZE = 128
FRAMES = 24
_TRAIL = ((0.19, 0.12), (0.125, 0.22), (0.06, 0.36))  # (age as a share of the clip, opacity) of past positions
_SHOWN_IN_TEST = 4  # test motions of each of a word's two meanings
_HELD_OUT = 2  # held-out things of each split and category


@dataclass(frozen=True, slots=True)
class Scene:
    """One clip: a thing, its motion and its background."""

    thing: Thing
    motion: str
    background: Background
    scale: float = 1.0
    shift: float = 0.0
    turned: bool = False
    held_out: bool = False


def motions_of(phrase: str, seed: str) -> tuple[list[str], list[str]]:
    """A word's motions in validation and test, and those in training. They differ, so that no caption is in both."""
    order = Random(f"{seed} motions of {phrase}").sample([*MOTIONS], len(MOTIONS))
    return order[: 2 * _SHOWN_IN_TEST], order[2 * _SHOWN_IN_TEST :]


def own_things(category: Category, seed: str) -> dict[str, list[Thing]]:
    """The category's own things: `shown` in training, and those held out for `val` and `test`."""
    order = Random(f"{seed} things of {category.slug}").sample([*category.own], len(category.own))
    return {"shown": order[:2], "test": order[2:4], "val": order[4:6]}


def training(category: Category, seed: str) -> Iterator[Scene]:
    """Yield training scenes without end. Shared things come three times as often as the category's own."""
    random = Random(f"{seed} training of {category.slug}")
    first, second = own_things(category, seed)["shown"]
    turns = cycle([*category.shared, first, *category.shared, second])
    motions = {thing.phrase: cycle(motions_of(thing.phrase, seed)[1]) for thing in (*category.shared, first, second)}
    for thing in turns:
        yield _scene(thing, next(motions[thing.phrase]), Background.draw(random), random)


def evaluation(category: Category, split: Split, size: int, seed: str) -> list[Scene]:
    """`size` scenes (a multiple of ten), in pairs of one thing in two motions.

    In three of five pairs both scenes have the same background, so only the motion tells them apart. Of ten scenes six
    show shared things, two show an own thing of the category, and two show a held-out thing. Each pair of a word and a
    motion comes once in a split, for both meanings of the word together.
    """
    random = Random(f"{seed} {split} of {category.slug}")
    own = own_things(category, seed)
    scenes: list[Scene] = []
    for part in range(size // 10):
        pairs = [(thing, _meaning(thing, category) * _SHOWN_IN_TEST + 2 * part) for thing in category.shared]
        pairs += [(own["shown"][part], 0), (own[split][part], 0)]
        for (thing, start), same in zip(pairs, random.sample([True, True, True, False, False], 5), strict=True):
            background = Background.draw(random)
            for motion in motions_of(thing.phrase, seed)[0][start : start + 2]:
                scenes.append(replace(_scene(thing, motion, background, random), held_out=thing in own[split]))
                if not same:
                    background = Background.draw(random)
    return scenes


def _meaning(thing: Thing, category: Category) -> int:
    """Which of its word's two meanings a shared thing has."""
    return [place for place, _ in senses()[thing.phrase]].index(category.name)


def _scene(thing: Thing, motion: str, background: Background, random: Random) -> Scene:
    return Scene(
        thing=thing,
        motion=motion,
        background=background,
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
    now = _placement(scene, time)
    for ago, strength in _TRAIL:
        past = _placement(scene, max(0.0, time - ago))
        if replace(past, opacity=1.0) != replace(now, opacity=1.0):
            _draw(picture, scene.thing, replace(past, opacity=strength * past.opacity))
    _draw(picture, scene.thing, now)
    return picture


def _placement(scene: Scene, time: float) -> Placement:
    path = MOTIONS[scene.motion]
    if scene.turned and scene.motion not in {"left", "right"}:
        path = mirrored(path)
    sideways = scene.motion in {"up", "down", "bounce"}
    place = path(time)
    return replace(
        place,
        x=place.x + scene.shift if sideways else place.x,
        y=place.y if sideways else place.y + scene.shift,
        size=place.size * scene.scale,
    )


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
