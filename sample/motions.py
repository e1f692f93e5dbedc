"""Motions: the placement of a thing at every moment of a clip."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Placement:
    """Where and how a sprite is drawn: centre and size as shares of the frame, angle in degrees."""

    x: float = 0.5
    y: float = 0.5
    size: float = 0.46
    angle: float = 0.0
    opacity: float = 1.0
    heading: int = 0
    """-1 while moving to the left, 1 while moving to the right, 0 otherwise."""


Path = Callable[[float], Placement]
"""Maps the time in a clip, from 0 to 1, to the placement of its thing."""


def _across(heading: int) -> Path:
    def path(t: float) -> Placement:
        return Placement(x=0.5 + heading * (0.68 * t - 0.34), heading=heading)

    return path


def _along(heading: int) -> Path:
    def path(t: float) -> Placement:
        return Placement(y=0.5 + heading * (0.64 * t - 0.32))

    return path


def _grow(t: float) -> Placement:
    return Placement(size=0.18 + 0.56 * t)


def _spin(t: float) -> Placement:
    return Placement(angle=-540 * t)


def _bounce(t: float) -> Placement:
    return Placement(y=0.7 - 0.38 * abs(math.sin(3 * math.pi * t)))


def _shake(t: float) -> Placement:
    swing = math.sin(10 * math.pi * t)
    return Placement(x=0.5 + 0.07 * swing, angle=-8 * swing)


# A thing that blinks or vanishes is hardly ever fully invisible, since no query would find a clip of empty frames.
def _blink(t: float) -> Placement:
    return Placement(opacity=1.0 if t * 7 % 2 < 1.2 else 0.1)


def _still(t: float) -> Placement:
    return Placement()


def _vanish(t: float) -> Placement:
    return Placement(opacity=min(1.0, max(0.0, 1.75 - 1.85 * t)))


def _circle(t: float) -> Placement:
    angle = 2 * math.pi * (1.25 * t - 0.25)
    heading = 1 if math.sin(angle) < 0 else -1
    return Placement(x=0.5 + 0.25 * math.cos(angle), y=0.5 + 0.25 * math.sin(angle), size=0.40, heading=heading)


def _shrink(t: float) -> Placement:
    return Placement(size=0.74 - 0.56 * t)


def _swing(t: float) -> Placement:
    turn = 0.75 * math.sin(3 * math.pi * t)
    return Placement(x=0.5 + 0.42 * math.sin(turn), y=0.2 + 0.42 * math.cos(turn), angle=math.degrees(turn), size=0.4)


# Scenes are drawn from this order, so a change of it changes the corpus.
MOTIONS: dict[str, Path] = {
    "right": _across(1),
    "left": _across(-1),
    "up": _along(-1),
    "down": _along(1),
    "grow": _grow,
    "spin": _spin,
    "bounce": _bounce,
    "shake": _shake,
    "blink": _blink,
    "still": _still,
    "vanish": _vanish,
    "circle": _circle,
    "shrink": _shrink,
    "swing": _swing,
}


def mirrored(path: Path) -> Path:
    """Mirror ``path``, right for left."""

    def mirror(t: float) -> Placement:
        place = path(t)
        return replace(place, x=1 - place.x, angle=-place.angle, heading=-place.heading)

    return mirror
