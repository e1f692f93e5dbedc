"""Says in English what a scene shows."""

import re
from random import Random

from sample.backgrounds import COLOURS, PATTERNS, Background
from sample.catalogue import CATEGORIES
from sample.scenes import Scene

# Verbs stand in brackets, to be put in the singular or plural; {verb} is the thing's own.
PHRASES: dict[str, tuple[str, ...]] = {
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
        "{a} [{verb}] around in a circle",
        "{a} [{verb}] in a loop",
        "{a} [circle] around the middle",
        "{a} [move] along a ring",
    ),
    "chase": (
        "{a} [chase] {b}",
        "{a} [follow] {b}",
        "{a} [{verb}] after {b}",
        "{a} [pursue] {b}",
    ),
    "meet": (
        "{a} and {b} meet in the middle",
        "{a} and {b} come together",
        "{a} and {b} approach each other",
        "{a} [meet] {b}",
    ),
}
WITH_BACKGROUND = 0.4
_PLURALS = {"be": "are"}
_SINGULARS = {"be": "is", "do": "does"}


def third_person(verb: str) -> str:
    """The form of ``verb`` after a singular subject.

    >>> [third_person(verb) for verb in ("hop", "fly", "stay", "vanish", "do")]
    ['hops', 'flies', 'stays', 'vanishes', 'does']
    """
    if verb in _SINGULARS:
        return _SINGULARS[verb]
    if verb.endswith(("s", "sh", "ch", "x")):
        return f"{verb}es"
    if verb.endswith("y") and verb[-2] not in "aeiou":
        return f"{verb[:-1]}ies"
    return f"{verb}s"


def phrase(template: str, a: str, plural: bool, verb: str, b: str = "") -> str:
    """Fill in a template of :data:`PHRASES`.

    >>> phrase("{a} [{verb}] after {b}", "a bunny", False, "hop", "a dog")
    'a bunny hops after a dog'
    """

    def inflect(match: re.Match[str]) -> str:
        return _PLURALS.get(match[1], match[1]) if plural else third_person(match[1])

    # Inflect before the names go in: they may hold anything.
    words = re.sub(r"\[(\w+)\]", inflect, template.replace("{verb}", verb))
    return words.format(a=a, b=b, it="they" if plural else "it")


def captions(scene: Scene, count: int, random: Random) -> list[str]:
    """Write ``count`` different captions of a scene, some of which tell the background."""
    thing, verb = scene.thing, scene.verb
    other = scene.other.phrase if scene.other else ""
    templates = PHRASES[scene.motion]
    plain = [phrase(text, thing.phrase, thing.plural, verb, other) for text in templates]
    placed = [f"{text} over {scene.background.phrase}" for text in plain]
    chosen: list[str] = []
    random.shuffle(plain)
    random.shuffle(placed)
    while len(chosen) < count:
        first, second = (placed, plain) if random.random() < WITH_BACKGROUND else (plain, placed)
        chosen.append((first or second).pop())
    return chosen


def vocabulary() -> set[str]:
    """Every word that a caption of either corpus may have."""
    texts = [f"over {Background(colour, pattern, 0).phrase}" for colour in COLOURS for pattern in PATTERNS]
    for category in CATEGORIES:
        for thing in (*category.things, *category.others):
            for template in (text for templates in PHRASES.values() for text in templates):
                texts.append(phrase(template, thing.phrase, thing.plural, thing.verb or category.verb, thing.phrase))
    return {word for text in texts for word in text.lower().split()}
