"""The contents of the sample: twenty places, each with the things found there.

The places are the categories. Three words of each place mean something else in another place: a hog is a pig on the
farm and a motorcycle in the street. A phrase without an article is plural ("jeans"). Every other phrase is singular.
"""

from dataclasses import dataclass
from typing import Literal

Facing = Literal["left", "right"]


@dataclass(frozen=True, slots=True)
class Thing:
    """One emoji, the words for it, and the direction it faces."""

    emoji: str
    phrase: str
    faces: Facing | None = None

    @property
    def plural(self) -> bool:
        """Whether the phrase takes a plural verb."""
        return self.phrase.split()[0] not in {"a", "an", "the"}


@dataclass(frozen=True, slots=True)
class Category:
    """A place and its things.

    The word for a `shared` thing means another thing in another place. An `own` thing is only found here: a corpus
    shows some of them in training and holds others out.
    """

    name: str
    shared: tuple[Thing, ...]
    own: tuple[Thing, ...]

    @property
    def slug(self) -> str:
        """The folder that holds the category's videos."""
        return self.name.replace(" ", "-")


def _things(text: str) -> tuple[Thing, ...]:
    """Read things written as "emoji phrase", separated by commas. After an emoji "<" means facing left, ">" right."""
    found = []
    for entry in text.split(","):
        emoji, _, phrase = entry.strip().partition(" ")
        faces: Facing | None = {"<": "left", ">": "right"}.get(emoji[-1])  # type: ignore[assignment]
        found.append(Thing(emoji.rstrip("<>"), phrase, faces))
    return tuple(found)


def _place(name: str, shared: str, own: str) -> Category:
    return Category(name, _things(shared), _things(own))


CATEGORIES: tuple[Category, ...] = (
    _place(
        "street",
        "🏍️< a hog, 🚙< a mustang, 🏎️< a jaguar",
        "🚌< a bus, 🚲< a bicycle, 🛵< a motor scooter, 🚓< a police car, 🚑< an ambulance, 🚒< a fire engine, "
        "🛴< a kick scooter, 🚕< a taxi",
    ),
    _place(
        "airport",
        "✈️> a jumbo, 🚁< a chopper, 🧳 a trunk",
        "🪂 a parachute, 💺 a seat, ⏰ an alarm clock, 🧭 a compass, 🛒 a shopping cart, 🎒 a backpack, 🗺️ a world map, "
        "👜 a handbag",
    ),
    _place(
        "harbour",
        "🐟< a bass, 🚤< a cutter, 🪼 a jelly",
        "🐬< a dolphin, 🦈< a shark, 🐙 an octopus, 🦀 a crab, 🐋< a whale, 🦑 a squid, 🦞 a lobster, ⚓ an anchor",
    ),
    _place(
        "garden",
        "🌿 a mint, 🦋 a monarch, 🦇 a bat",
        "🌹 a rose, 🌻 a sunflower, 🐌< a snail, 🐞< a ladybug, 🌷 a tulip, 🐜< an ant, 🕷️ a spider, 🌵 a cactus",
    ),
    _place(
        "space",
        "🚀> a shuttle, 📡 a dish, 🌙 a crescent",
        "☀️ the sun, ⭐ a star, ☄️ a comet, 🪐 a ringed planet, 🛸 a flying saucer, 🤖 a robot, 👽 an alien, "
        "⚡ a lightning bolt",
    ),
    _place(
        "office",
        "🖥️ a monitor, 💵 a buck, 💻 a terminal",
        "📎 a paperclip, 📌 a pushpin, ☎️ a telephone, 🖨️ a printer, 📚 books, ✏️ a pencil, 📅 a calendar, "
        "🗑️ a wastebasket",
    ),
    _place(
        "hospital",
        "🫀 an organ, 🦠 a cell, 🦷 a crown",
        "💉 a syringe, 🩺 a stethoscope, 🩹 an adhesive bandage, 🩼 a crutch, 🦴 a bone, 💊 a pill, 🔬 a microscope, "
        "🌡️ a thermometer",
    ),
    _place(
        "wardrobe",
        "👠 a pump, 👟 a trainer, 🧣 a wrap",
        "👕 a t-shirt, 🧦 socks, 🎩 a top hat, 👗 a dress, 🧥 a coat, 👖 jeans, 🧤 gloves, 👓 glasses",
    ),
    _place(
        "bar",
        "🥃 a spirit, 🥂 a toast, 🧊 a block",
        "🍺 a mug of beer, 🍷 a glass of wine, 🥛 a glass of milk, ☕ a cup of coffee, 🫖 a teapot, 🧃 a juice box, "
        "🍋 a lemon, 🍒 cherries",
    ),
    _place(
        "party",
        "🪁 a kite, 🥏 a disc, 🧒 a kid",
        "🎁 a wrapped gift, 🧸 a teddy bear, 🪀 a yo-yo, 🎲 a game die, 🎃 a jack-o-lantern, 🧩 a puzzle piece, "
        "🎉 a party popper, 🎈 a balloon",
    ),
    _place(
        "farm",
        "🐖< a hog, 🐎< a mustang, 🐐< a kid",
        "🐄< a cow, 🐓< a rooster, 🐂< an ox, 🦃< a turkey, 🚜< a tractor, 🌽 an ear of corn, 🦙< a llama, 🪿< a goose",
    ),
    _place(
        "jungle",
        "🐆< a jaguar, 🐘< a jumbo, 🦎< a monitor",
        "🐅< a tiger, 🐒< a monkey, 🦍< a gorilla, 🦜< a parrot, 🐍< a snake, 🐼 a panda, 🦥 a sloth, 🦩 a flamingo",
    ),
    _place(
        "forest",
        "🦌< a buck, 🪵 a trunk, 🦅< a kite",
        "🦊 a fox, 🐻 a bear, 🦉 an owl, 🦔< a hedgehog, 🦡< a badger, 🍄 a mushroom, 🐺 a wolf, 🌲 an evergreen tree",
    ),
    _place(
        "playing field",
        "🏸 a shuttle, 🏏 a bat, 🏋️ a trainer",
        "⚽ a soccer ball, 🏀 a basketball, 🏈 an American football, 🎾 a tennis racket, 🥊 a boxing glove, 🛷 a sled, "
        "🏐 a volleyball, 🏆 a trophy",
    ),
    _place(
        "kitchen",
        "🍽️ a dish, 🌯 a wrap, 🍮 a jelly",
        "🥕 a carrot, 🥔 a potato, 🍆 an eggplant, 🥒 a cucumber, 🥚 an egg, 🔪 a kitchen knife, 🥄 a spoon, "
        "🌶️ a hot pepper",
    ),
    _place(
        "bakery",
        "🍞 a toast, 🥐 a crescent, 🍬 a mint",
        "🍩 a doughnut, 🍪 a cookie, 🧁 a cupcake, 🍭 a lollipop, 🥨 a pretzel, 🥧 a pie, 🍫 a chocolate bar, "
        "🥞 pancakes",
    ),
    _place(
        "concert",
        "🎸 a bass, 🎹 an organ, 💿 a disc",
        "🎺 a trumpet, 🎻 a violin, 🎷 a saxophone, 📻 a radio, 🎤 a microphone, 🪗 an accordion, 🪕 a banjo, "
        "🥁 a drum",
    ),
    _place(
        "workshop",
        "🪓 a chopper, ✂️ a cutter, 🔋 a cell",
        "🔨 a hammer, 🔧 a wrench, 🔑 a key, 🪛 a screwdriver, 🧲 a magnet, 🪜 a ladder, 🔩 a nut and bolt, ⚙️ a gear",
    ),
    _place(
        "city",
        "⛽ a pump, 🧱 a block, 🚉 a terminal",
        "🏠 a house, ⛪ a church, 🏭 a factory, 🏥 a hospital, ⛺ a tent, 🏫 a school, 🏟️ a stadium, ⛲ a fountain",
    ),
    _place(
        "fairyland",
        "👻 a spirit, 🫅 a monarch, 👑 a crown",
        "🐉< a dragon, 🧙 a mage, 🧛 a vampire, 🔮 a crystal ball, 🪄 a magic wand, 🧟 a zombie, 🧝 an elf, "
        "🗝️ an old key",
    ),
)
"""The categories in their fixed order. Two consecutive categories make one of ten tasks."""


def senses() -> dict[str, list[tuple[str, Thing]]]:
    """For each shared word, the places that use it and its meaning there."""
    found: dict[str, list[tuple[str, Thing]]] = {}
    for category in CATEGORIES:
        for thing in category.shared:
            found.setdefault(thing.phrase, []).append((category.name, thing))
    return found
