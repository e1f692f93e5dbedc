"""How things move in the next sample: as in this one, but one thing a clip, and hardly ever quite gone."""

import math

from sample import motions
from sample.motions import FOR_TWO, Path, Placement


def _blink(t: float) -> tuple[Placement, ...]:
    return (Placement(opacity=1.0 if t * 7 % 2 < 1.2 else 0.1),)


def _vanish(t: float) -> tuple[Placement, ...]:
    return (Placement(opacity=min(1.0, max(0.0, 1.75 - 1.85 * t))),)


def _shrink(t: float) -> tuple[Placement, ...]:
    return (Placement(size=0.74 - 0.56 * t),)


def _swing(t: float) -> tuple[Placement, ...]:
    turn = 0.75 * math.sin(3 * math.pi * t)
    return (
        Placement(x=0.5 + 0.42 * math.sin(turn), y=0.2 + 0.42 * math.cos(turn), angle=math.degrees(turn), size=0.4),
    )


# The order counts: scenes are drawn from it.
MOTIONS: dict[str, Path] = {name: path for name, path in motions.MOTIONS.items() if name not in FOR_TWO} | {
    "blink": _blink,
    "vanish": _vanish,
    "shrink": _shrink,
    "swing": _swing,
}
