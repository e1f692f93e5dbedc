"""Composes web-like pairs of a still picture and a caption, without end, to train the tiny CLIP."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

import numpy as np
from PIL import Image

from sample.backgrounds import COLOURS, PATTERNS, Background
from sample.captions import PHRASES, phrase
from sample.sprites import drawable, emoji_names, sprite
from sample.webnames import NAMES, UNREAD, VERBS

SIDE = 48
BANK = 3000
_MIDDLE = 64  # sprites are cached at this size and then resized
_TRAVEL: dict[str, tuple[str, ...]] = {
    "right": (
        "{a} [{verb}] from left to right",
        "{a} [{verb}] to the right",
        "{a} [{verb}] across to the right side",
        "{a} [move] rightward",
    ),
    "left": (
        "{a} [{verb}] from right to left",
        "{a} [{verb}] to the left",
        "{a} [{verb}] across to the left side",
        "{a} [move] leftward",
    ),
    "circle": (
        "{a} [{verb}] around in a circle",
        "{a} [{verb}] in a loop",
        "{a} [circle] around the middle",
        "{a} [move] along a ring",
    ),
}
_SHARED = ("up", "down", "grow", "spin", "bounce", "shake", "blink", "still", "vanish")
# Pairs are drawn from this order and from four templates of each motion. The last four tell no motion.
_MOTIONS = (
    *(_TRAVEL["right"], _TRAVEL["left"]),
    *(PHRASES[motion] for motion in _SHARED),
    *(_TRAVEL["circle"], ("", "", "", "")),
)
_SIZES = (("a small picture of {}", 0.42), ("a large picture of {}", 0.62))


@dataclass(frozen=True, slots=True)
class Subject:
    """An emoji and its words in pre-training."""

    emoji: str
    phrase: str
    plural: bool
    verb: str


@dataclass(frozen=True, slots=True)
class Pair:
    """A picture, its caption, and the labels of the auxiliary heads."""

    pixels: np.ndarray
    caption: str
    subject: int
    colour: int
    pattern: int
    tells_background: bool


def subjects() -> list[Subject]:
    """Every emoji that the font draws, by our name or Unicode's, without names that have a word of `UNREAD`."""
    ours, found = dict(NAMES), []
    for number, (emoji, name) in enumerate(emoji_names().items()):
        known = ours.pop(emoji.replace("\ufe0f", ""), None)
        words = known or _with_article(name)
        if drawable(emoji) and not UNREAD & set(re.findall(r"[a-z]+", words.lower())):
            plural = words.split()[0] not in {"a", "an", "the"}
            found.append(Subject(emoji, words, plural, VERBS[number % len(VERBS)]))
    if ours:
        raise ValueError(f"Not among Unicode's emoji: {ours}.")
    return found


def _with_article(name: str) -> str:
    if name.endswith("s") and not name.endswith("ss"):
        return name
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


class Composer:
    """Draws pairs. Some subjects are more frequent than others, as on the web."""

    def __init__(self, seed: int) -> None:
        self.random = Random(f"web {seed}")
        self.subjects = subjects()
        ranks = self.random.sample(range(len(self.subjects)), len(self.subjects))
        self.weights = [1 / (20 + rank) ** 0.5 for rank in ranks]
        self.bank = [Background.draw(self.random) for _ in range(BANK)]
        self.painted = [np.asarray(background.paint(SIDE)) for background in self.bank]
        self.colours, self.patterns = [*COLOURS], [*PATTERNS]

    def __iter__(self) -> Iterator[Pair]:
        """Yield pairs without end."""
        while True:
            yield self.pair()

    def pair(self) -> Pair:
        """Draw one pair."""
        random = self.random
        number, second = random.choices(range(len(self.subjects)), self.weights, k=2)
        place = random.randrange(BANK)
        background, picture = self.bank[place], Image.fromarray(self.painted[place])
        if random.random() < 0.2:
            text = self._two(picture, self.subjects[number], self.subjects[second])
        else:
            text = self._one(picture, self.subjects[number])
        tells = random.random() < 0.45
        if tells:
            text = self._with_background(text, background)
        return Pair(
            pixels=np.asarray(picture),
            caption=text,
            subject=number,
            colour=self.colours.index(background.colour),
            pattern=self.patterns.index(background.pattern),
            tells_background=tells,
        )

    def _with_background(self, text: str, background: Background) -> str:
        if self.random.random() < 0.3:
            return f"{text}, {background.colour}"
        return f"{text} {self.random.choice(('over', 'on', 'over'))} {background.phrase}"

    def _one(self, picture: Image.Image, subject: Subject) -> str:
        random = self.random
        size = random.uniform(0.28, 0.75)
        room = max(0.0, 1.05 - size) / 2
        x, y = (0.5 + random.uniform(-room, room) for _ in range(2))
        self._paste(picture, subject, x, y, size)
        chance = random.random()
        if chance < 0.12:
            template = random.choice(random.choice(_MOTIONS)).replace("{verb}", subject.verb)
            if template:
                return phrase(template, subject.phrase, subject.plural)
        if chance < 0.30:
            if abs(x - 0.5) > 0.08 and abs(x - 0.5) > abs(y - 0.5):
                return f"{subject.phrase} on the {'left' if x < 0.5 else 'right'}"
            if abs(y - 0.5) > 0.08:
                return f"{subject.phrase} at the {'top' if y < 0.5 else 'bottom'}"
        if chance < 0.42:
            for template, limit in _SIZES:
                if (size < limit) == (limit < 0.5):
                    return template.format(subject.phrase)
        if chance < 0.55:
            template = random.choice(("a picture of {}", "{} emoji", "an image of {}"))
            return template.format(subject.phrase)
        return subject.phrase

    def _two(self, picture: Image.Image, first: Subject, second: Subject) -> str:
        random = self.random
        left = random.uniform(0.2, 0.3)
        size = random.uniform(0.3, 0.45)
        ends = (left, 1 - left) if random.random() < 0.5 else (1 - left, left)
        for subject, x in zip((first, second), ends, strict=True):
            self._paste(picture, subject, x, random.uniform(0.35, 0.65), size)
        link = random.choice(("and", "next to", "to the left of", "with"))
        if link == "to the left of" and ends[0] > ends[1]:
            link = "to the right of"
        return f"{first.phrase} {link} {second.phrase}"

    def _paste(self, picture: Image.Image, it: Subject, x: float, y: float, size: float) -> None:
        random = self.random
        side = max(8, round(size * SIDE))
        drawn = sprite(it.emoji, _MIDDLE).resize((side, side), Image.Resampling.BILINEAR)
        if random.random() < 0.5:
            drawn = drawn.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        if random.random() < 0.3:
            drawn = drawn.rotate(random.uniform(-180, 180), Image.Resampling.BILINEAR)
        corner = round(x * SIDE - side / 2), round(y * SIDE - side / 2)
        picture.paste(drawn.convert("RGB"), corner, drawn.getchannel("A"))
