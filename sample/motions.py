"""How things move: where each stands at every moment of a clip."""

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


Path = Callable[[float], tuple[Placement, ...]]
"""Maps the time in a clip, from 0 to 1, to the placement of each of its things."""


def _across(heading: int) -> Path:
    def path(t: float) -> tuple[Placement, ...]:
        return (Placement(x=0.5 + heading * (0.68 * t - 0.34), heading=heading),)

    return path


def _along(heading: int) -> Path:
    def path(t: float) -> tuple[Placement, ...]:
        return (Placement(y=0.5 + heading * (0.64 * t - 0.32)),)

    return path


def _grow(t: float) -> tuple[Placement, ...]:
    return (Placement(size=0.18 + 0.56 * t),)


def _spin(t: float) -> tuple[Placement, ...]:
    return (Placement(angle=-540 * t),)


def _bounce(t: float) -> tuple[Placement, ...]:
    return (Placement(y=0.7 - 0.38 * abs(math.sin(3 * math.pi * t))),)


def _shake(t: float) -> tuple[Placement, ...]:
    swing = math.sin(10 * math.pi * t)
    return (Placement(x=0.5 + 0.07 * swing, angle=-8 * swing),)


def _blink(t: float) -> tuple[Placement, ...]:
    return (Placement(opacity=1.0 if t * 7 % 2 < 1 else 0.0),)


def _still(t: float) -> tuple[Placement, ...]:
    return (Placement(),)


def _vanish(t: float) -> tuple[Placement, ...]:
    return (Placement(opacity=min(1.0, max(0.0, 1.15 - 1.25 * t))),)


def _circle(t: float) -> tuple[Placement, ...]:
    angle = 2 * math.pi * (1.25 * t - 0.25)
    heading = 1 if math.sin(angle) < 0 else -1
    return (
        Placement(
            x=0.5 + 0.25 * math.cos(angle),
            y=0.5 + 0.25 * math.sin(angle),
            size=0.40,
            heading=heading,
        ),
    )


def _chase(t: float) -> tuple[Placement, ...]:
    x = 0.16 + 0.30 * t
    return (
        Placement(x=x, size=0.36, heading=1),
        Placement(x=x + 0.38, size=0.36, heading=1),
    )


def _meet(t: float) -> tuple[Placement, ...]:
    x = 0.14 + 0.18 * min(1.0, t / 0.8)
    return (
        Placement(x=x, size=0.36, heading=1),
        Placement(x=1 - x, size=0.36, heading=-1),
    )


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
    "chase": _chase,
    "meet": _meet,
}
FOR_TWO = frozenset({"chase", "meet"})
HOPPING = frozenset({"hop", "gallop"})


def hopping(path: Path) -> Path:
    """Let whatever travels sideways on ``path`` do so in hops."""

    def hops(t: float) -> tuple[Placement, ...]:
        lift = 0.10 * abs(math.sin(4 * math.pi * t))
        return tuple(replace(p, y=p.y + 0.04 - lift) if p.heading else p for p in path(t))

    return hops


def mirrored(path: Path) -> Path:
    """Turn ``path`` round, right for left."""

    def mirror(t: float) -> tuple[Placement, ...]:
        return tuple(replace(p, x=1 - p.x, angle=-p.angle, heading=-p.heading) for p in path(t))

    return mirror
