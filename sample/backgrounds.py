"""Paints patterned backgrounds in two shades of one colour."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

import numpy as np
from numpy.typing import NDArray
from PIL import Image

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (214, 64, 58),
    "orange": (240, 140, 48),
    "yellow": (244, 208, 72),
    "green": (84, 164, 84),
    "teal": (44, 148, 148),
    "blue": (72, 124, 214),
    "purple": (134, 92, 186),
    "pink": (240, 150, 184),
    "brown": (142, 100, 70),
    "grey": (142, 146, 152),
    "black": (34, 36, 42),
    "white": (244, 244, 240),
}

_Field = NDArray[np.float64]
_Pattern = Callable[[_Field, _Field, float], _Field]


def _striped(x: _Field, y: _Field, turn: float) -> _Field:
    angle = np.pi * turn
    stripes: _Field = np.floor((x * np.cos(angle) + y * np.sin(angle)) * 7) % 2
    return stripes


def _dotted(x: _Field, y: _Field, turn: float) -> _Field:
    u, v = x * 6 + turn, y * 6 + turn
    u = u + 0.5 * (np.floor(v) % 2)
    return ((u % 1 - 0.5) ** 2 + (v % 1 - 0.5) ** 2 < 0.075).astype(np.float64)


def _checkered(x: _Field, y: _Field, turn: float) -> _Field:
    checks: _Field = (np.floor(x * 6 + turn) + np.floor(y * 6 + turn)) % 2
    return checks


def _sunburst(x: _Field, y: _Field, turn: float) -> _Field:
    rays: _Field = np.floor((np.arctan2(y - 0.5, x - 0.5) / (2 * np.pi) + 0.5 + turn) * 20) % 2
    return rays


def _wavy(x: _Field, y: _Field, turn: float) -> _Field:
    waves: _Field = np.floor((y + 0.04 * np.sin(2 * np.pi * (2.5 * x + turn))) * 9) % 2
    return waves


def _gradient(x: _Field, y: _Field, turn: float) -> _Field:
    angle = 2 * np.pi * turn
    slope: _Field = 0.5 + (x - 0.5) * np.cos(angle) + (y - 0.5) * np.sin(angle)
    return slope


def _plain(x: _Field, y: _Field, turn: float) -> _Field:
    return np.full_like(x, 0.3)


PATTERNS: dict[str, _Pattern] = {
    "plain": _plain,
    "gradient": _gradient,
    "striped": _striped,
    "dotted": _dotted,
    "checkered": _checkered,
    "sunburst": _sunburst,
    "wavy": _wavy,
}
_NOUNS = {"gradient", "sunburst"}


@dataclass(frozen=True, slots=True)
class Background:
    """A colour, a pattern, and the turn or shift (0 to 1) that the pattern has."""

    colour: str
    pattern: str
    turn: float

    @classmethod
    def draw(cls, random: Random) -> "Background":
        """Draw a background at random."""
        return cls(random.choice([*COLOURS]), random.choice([*PATTERNS]), random.random())

    @property
    def phrase(self) -> str:
        """The background in words."""
        if self.pattern in _NOUNS:
            phrase = f"{self.colour} {self.pattern}"
        else:
            phrase = f"{self.pattern} {self.colour} background"
        return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"

    def paint(self, size: int) -> Image.Image:
        """Paint the background on a square of ``size`` pixels, with smooth edges."""
        fine = 2 * size
        y, x = (np.mgrid[0:fine, 0:fine] + 0.5) / fine
        share = np.clip(PATTERNS[self.pattern](x, y, self.turn), 0, 1)[..., None]
        base = np.array(COLOURS[self.colour], float)
        # Dark colours get a lighter second shade and light ones a darker one: both keep the name.
        other = base + 30 if base.mean() < 60 else base * (0.88 if base.mean() > 230 else 0.8)
        pixels = np.rint(base * (1 - share) + other * share).clip(0, 255).astype(np.uint8)
        return Image.fromarray(pixels).resize((size, size), Image.Resampling.BOX)
