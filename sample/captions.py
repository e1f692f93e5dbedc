"""Writes English captions of a scene."""

import re
from random import Random

from sample.backgrounds import COLOURS, PATTERNS, Background
from sample.catalogue import CATEGORIES
from sample.scenes import Scene

# Verbs are in brackets. `phrase` puts them in the singular or plural.
PHRASES: dict[str, tuple[str, ...]] = {
    "right": (
        "{a} [go] from left to right",
        "{a} [travel] to the right",
        "{a} [pass] across to the right side",
        "{a} [move] rightward",
    ),
    "left": (
        "{a} [go] from right to left",
        "{a} [travel] to the left",
        "{a} [pass] across to the left side",
        "{a} [move] leftward",
    ),
    "up": (
        "{a} [rise] from the bottom to the top",
        "{a} [move] upward",
        "{a} [climb] up",
        "{a} [float] toward the top",
    ),
    "down": (
        "{a} [sink] from the top to the bottom",
        "{a} [move] downward",
        "{a} [fall] down",
        "{a} [drop] toward the bottom",
    ),
    "grow": (
        "{a} [grow] bigger and bigger",
        "{a} [get] larger",
        "{a} [come] closer",
        "{a} [swell] in size",
    ),
    "shrink": (
        "{a} [grow] smaller and smaller",
        "{a} [get] tiny",
        "{a} [move] far away",
        "{a} [shrink]",
    ),
    "spin": (
        "{a} [spin] around",
        "{a} [rotate] on the spot",
        "{a} [turn] over and over",
        "{a} [whirl] like a wheel",
    ),
    "bounce": (
        "{a} [bounce] up and down",
        "{a} [jump] on the spot",
        "{a} [leap] again and again",
        "{a} [bounce] off the floor",
    ),
    "shake": (
        "{a} [shake] from side to side",
        "{a} [tremble]",
        "{a} [wobble] quickly",
        "{a} [shiver] where {it} [be]",
    ),
    "swing": (
        "{a} [swing] to and fro",
        "{a} [sway] like a pendulum",
        "{a} [hang] and [swing]",
        "{a} [swing] back and forth in an arc",
    ),
    "blink": (
        "{a} [blink] on and off",
        "{a} [flash]",
        "{a} [appear] and [disappear] again and again",
        "{a} [flicker]",
    ),
    "still": (
        "{a} [stay] still",
        "{a} [do] not move",
        "{a} [rest] in place",
        "nothing happens to {a}",
    ),
    "vanish": (
        "{a} [fade] away",
        "{a} [vanish]",
        "{a} slowly [disappear]",
        "{a} [become] invisible",
    ),
    "circle": (
        "{a} [go] around in a circle",
        "{a} [travel] in a loop",
        "{a} [circle] around the middle",
        "{a} [move] along a ring",
    ),
}
WITH_BACKGROUND = 0.9
_PLURALS = {"be": "are"}
_SINGULARS = {"be": "is", "do": "does", "go": "goes"}


def third_person(verb: str) -> str:
    """The form of ``verb`` after a singular subject.

    >>> [third_person(verb) for verb in ("go", "fly", "stay", "vanish", "do")]
    ['goes', 'flies', 'stays', 'vanishes', 'does']
    """
    if verb in _SINGULARS:
        return _SINGULARS[verb]
    if verb.endswith(("s", "sh", "ch", "x")):
        return f"{verb}es"
    if verb.endswith("y") and verb[-2] not in "aeiou":
        return f"{verb[:-1]}ies"
    return f"{verb}s"


def phrase(template: str, a: str, plural: bool) -> str:
    """Fill in a template of :data:`PHRASES`.

    >>> phrase("{a} [shiver] where {it} [be]", "a hog", False)
    'a hog shivers where it is'
    """

    def inflect(match: re.Match[str]) -> str:
        return _PLURALS.get(match[1], match[1]) if plural else third_person(match[1])

    # Inflect before inserting the name, since a name may contain brackets.
    return re.sub(r"\[(\w+)\]", inflect, template).format(a=a, it="they" if plural else "it")


def captions(scene: Scene, count: int, random: Random) -> list[str]:
    """Write ``count`` different captions of a scene, some of which tell the background."""
    plain = [phrase(text, scene.thing.phrase, scene.thing.plural) for text in PHRASES[scene.motion]]
    placed = [f"{text} over {scene.background.phrase}" for text in plain]
    chosen: list[str] = []
    random.shuffle(plain)
    random.shuffle(placed)
    while len(chosen) < count:
        first, second = (placed, plain) if random.random() < WITH_BACKGROUND else (plain, placed)
        chosen.append((first or second).pop())
    return chosen


def fits(caption: str, scene: Scene) -> bool:
    """Whether a caption is true of a scene: thing and motion match, and so does the background, if it is told."""
    written = [phrase(text, scene.thing.phrase, scene.thing.plural) for text in PHRASES[scene.motion]]
    return caption in written or caption in [f"{text} over {scene.background.phrase}" for text in written]


def vocabulary() -> set[str]:
    """Every word that a caption of any corpus may have."""
    texts = [f"over {Background(colour, pattern, 0).phrase}" for colour in COLOURS for pattern in PATTERNS]
    for category in CATEGORIES:
        for thing in (*category.shared, *category.own):
            for template in (text for templates in PHRASES.values() for text in templates):
                texts.append(phrase(template, thing.phrase, thing.plural))
    return {word for text in texts for word in text.lower().split()}
