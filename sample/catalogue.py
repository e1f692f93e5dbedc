"""What appears in the sample: twenty categories of things, each drawn by one emoji.

A phrase without an article is plural ("headphones"), every other one is singular.
"""

from dataclasses import dataclass
from typing import Literal

Facing = Literal["left", "right"]


@dataclass(frozen=True, slots=True)
class Thing:
    """One emoji, the words for it, and how it gets about.

    ``name`` is what the tiny CLIP learns to call the picture in pre-training. Where there is an
    ``alias``, the corpus uses that instead: a word the CLIP has never read, left for training.
    """

    emoji: str
    name: str
    alias: str | None = None
    verb: str | None = None
    faces: Facing | None = None

    @property
    def phrase(self) -> str:
        """The noun phrase the corpus uses."""
        return self.alias or self.name

    @property
    def plural(self) -> bool:
        """Whether the corpus phrase takes a plural verb."""
        return self.phrase.split()[0] not in {"a", "an", "the"}


@dataclass(frozen=True, slots=True)
class Category:
    """A category of things; the sample shows ``things``, the development corpus ``others``."""

    name: str
    verb: str
    things: tuple[Thing, ...]
    others: tuple[Thing, ...]

    @property
    def slug(self) -> str:
        """The folder that holds the category's videos."""
        return self.name.replace(" ", "-")


CATEGORIES: tuple[Category, ...] = (
    # Task 1 of five: animals.
    Category(
        "mammals",
        "walk",
        (
            Thing("🐇", "a rabbit", "a bunny", verb="hop", faces="left"),
            Thing("🐕", "a dog", verb="run", faces="left"),
            Thing("🐎", "a horse", verb="gallop", faces="left"),
            Thing("🐘", "an elephant", faces="left"),
            Thing("🐅", "a tiger", faces="left"),
            Thing("🐖", "a pig", "a hog", verb="trot", faces="left"),
        ),
        (
            Thing("🦊", "a fox"),
            Thing("🐿️", "a chipmunk", "a squirrel", verb="hop", faces="left"),
            Thing("🐒", "a monkey", faces="left"),
            Thing("🐄", "a cow", faces="left"),
            Thing("🐪", "a camel", faces="left"),
            Thing("🐂", "an ox", "a bull", faces="left"),
        ),
    ),
    Category(
        "birds",
        "fly",
        (
            Thing("🦆", "a duck", verb="swim", faces="left"),
            Thing("🦉", "an owl"),
            Thing("🦩", "a flamingo", verb="walk", faces="left"),
            Thing("🐧", "a penguin", verb="waddle", faces="left"),
            Thing("🐓", "a rooster", verb="walk", faces="left"),
            Thing("🦜", "a parrot", "a macaw", faces="left"),
        ),
        (
            Thing("🦢", "a swan", verb="swim", faces="left"),
            Thing("🦅", "an eagle", "a hawk", faces="left"),
            Thing("🕊️", "a dove", "a pigeon", faces="left"),
            Thing("🦃", "a turkey", verb="walk", faces="left"),
            Thing("🦚", "a peacock", verb="walk", faces="left"),
            Thing("🪿", "a goose", verb="walk", faces="left"),
        ),
    ),
    Category(
        "sea animals",
        "swim",
        (
            Thing("🐬", "a dolphin", "a porpoise", faces="left"),
            Thing("🦈", "a shark", faces="left"),
            Thing("🐙", "an octopus"),
            Thing("🦀", "a crab", verb="scuttle"),
            Thing("🐠", "a tropical fish", "a clownfish", faces="left"),
            Thing("🐋", "a whale", faces="left"),
        ),
        (
            Thing("🐡", "a blowfish", "a puffer", faces="left"),
            Thing("🦑", "a squid"),
            Thing("🦐", "a shrimp", "a prawn", faces="left"),
            Thing("🦞", "a lobster", verb="crawl"),
            Thing("🐟", "a fish", faces="left"),
            Thing("🪼", "a jellyfish"),
        ),
    ),
    Category(
        "reptiles",
        "crawl",
        (
            Thing("🐊", "a crocodile", "an alligator", faces="left"),
            Thing("🐢", "a turtle", faces="left"),
            Thing("🦎", "a lizard", faces="left"),
            Thing("🐍", "a snake", verb="slither", faces="left"),
            Thing("🦖", "a T-Rex", verb="stomp", faces="left"),
        ),
        (
            Thing("🦕", "a sauropod", "a brontosaurus", verb="stomp", faces="left"),
            Thing("🐉", "a dragon", verb="fly", faces="left"),
            Thing("🐲", "a dragon face", verb="glide", faces="left"),
            Thing("🐸", "a frog", "a toad", verb="hop"),
        ),
    ),
    # Task 2: food.
    Category(
        "fruit",
        "roll",
        (
            Thing("🍎", "an apple"),
            Thing("🍌", "a banana", verb="slide"),
            Thing("🍓", "a strawberry"),
            Thing("🍍", "a pineapple"),
            Thing("🍊", "a tangerine", "a mandarin"),
            Thing("🍇", "grapes", verb="slide"),
        ),
        (
            Thing("🍋", "a lemon"),
            Thing("🍐", "a pear"),
            Thing("🍑", "a peach", "a nectarine"),
            Thing("🍒", "cherries"),
            Thing("🥭", "a mango"),
            Thing("🫐", "blueberries", "bilberries"),
        ),
    ),
    Category(
        "vegetables",
        "roll",
        (
            Thing("🥕", "a carrot"),
            Thing("🥔", "a potato", "a spud"),
            Thing("🍆", "an eggplant", "an aubergine"),
            Thing("🥒", "a cucumber"),
            Thing("🧅", "an onion"),
            Thing("🍄", "a mushroom", verb="slide"),
        ),
        (
            Thing("🫑", "a bell pepper", "a paprika"),
            Thing("🌶️", "a hot pepper", "a chili"),
            Thing("🧄", "a garlic bulb"),
            Thing("🥑", "an avocado"),
            Thing("🥬", "a leafy green", verb="slide"),
            Thing("🌽", "an ear of corn"),
        ),
    ),
    Category(
        "meals",
        "slide",
        (
            Thing("🍕", "a slice of pizza"),
            Thing("🍔", "a hamburger"),
            Thing("🌮", "a taco"),
            Thing("🍟", "french fries"),
            Thing("🌭", "a hot dog", "a frankfurter"),
            Thing("🍝", "a plate of spaghetti", "a plate of pasta"),
        ),
        (
            Thing("🥞", "pancakes"),
            Thing("🍳", "a fried egg"),
            Thing("🥐", "a croissant"),
            Thing("🥨", "a pretzel"),
            Thing("🌯", "a burrito", "a wrap"),
            Thing("🍲", "a pot of food", "a stew"),
        ),
    ),
    Category(
        "sweets",
        "slide",
        (
            Thing("🍩", "a doughnut", verb="roll"),
            Thing("🍪", "a cookie", "a biscuit", verb="roll"),
            Thing("🎂", "a birthday cake"),
            Thing("🧁", "a cupcake"),
            Thing("🍦", "an ice cream"),
            Thing("🍭", "a lollipop"),
        ),
        (
            Thing("🍫", "a chocolate bar"),
            Thing("🍬", "a candy", "a bonbon", verb="roll"),
            Thing("🍰", "a shortcake", "a gateau"),
            Thing("🥧", "a pie"),
            Thing("🍮", "a custard"),
            Thing("🍯", "a honey pot"),
        ),
    ),
    # Task 3: things outdoors.
    Category(
        "road and rail",
        "drive",
        (
            Thing("🚗", "a car", faces="left"),
            Thing("🚌", "a bus", "a coach", faces="left"),
            Thing("🚲", "a bicycle", verb="roll", faces="left"),
            Thing("🚜", "a tractor", faces="left"),
            Thing("🛵", "a motor scooter", "a moped", faces="left"),
            Thing("🚂", "a locomotive", verb="roll", faces="left"),
        ),
        (
            Thing("🚚", "a delivery truck", "a van", faces="left"),
            Thing("🏎️", "a racing car", verb="race", faces="left"),
            Thing("🏍️", "a motorcycle", "a motorbike", faces="left"),
            Thing("🚓", "a police car", faces="left"),
            Thing("🚑", "an ambulance", faces="left"),
            Thing("🚒", "a fire engine", faces="left"),
        ),
    ),
    Category(
        "ships and aircraft",
        "sail",
        (
            Thing("⛵", "a sailboat", "a yacht"),
            Thing("🚁", "a helicopter", "a chopper", verb="fly", faces="left"),
            Thing("✈️", "an airplane", verb="fly", faces="right"),
            Thing("🚀", "a rocket", verb="fly", faces="right"),
            Thing("🛶", "a canoe", verb="glide"),
            Thing("🚢", "a ship", faces="left"),
        ),
        (
            Thing("🚤", "a speedboat", faces="left"),
            Thing("🛸", "a flying saucer", "a ufo", verb="fly"),
            Thing("🛳️", "a passenger ship", "a liner", faces="left"),
            Thing("🛩️", "a small airplane", verb="fly", faces="right"),
            Thing("🪂", "a parachute", verb="float"),
            Thing("⛴️", "a ferry", faces="left"),
        ),
    ),
    Category(
        "buildings",
        "slide",
        (
            Thing("🏠", "a house"),
            Thing("🏰", "a castle"),
            Thing("⛪", "a church", "a chapel"),
            Thing("🏭", "a factory"),
            Thing("🏥", "a hospital"),
            Thing("⛺", "a tent"),
        ),
        (
            Thing("🏫", "a school"),
            Thing("🏨", "a hotel"),
            Thing("🕌", "a mosque"),
            Thing("🏯", "a Japanese castle", "a pagoda"),
            Thing("🛖", "a hut", "a shack"),
            Thing("🏟️", "a stadium"),
        ),
    ),
    Category(
        "weather and sky",
        "drift",
        (
            Thing("☀️", "the sun"),
            Thing("🌙", "a crescent moon"),
            Thing("☁️", "a cloud"),
            Thing("🌈", "a rainbow"),
            Thing("⭐", "a star"),
            Thing("🌪️", "a tornado", "a twister", verb="race"),
        ),
        (
            Thing("❄️", "a snowflake"),
            Thing("⚡", "a lightning bolt", "a thunderbolt"),
            Thing("🌧️", "a rain cloud"),
            Thing("⛄", "a snowman"),
            Thing("☄️", "a comet", "a meteor"),
            Thing("🪐", "a ringed planet"),
        ),
    ),
    # Task 4: leisure and what one wears for it.
    Category(
        "music",
        "slide",
        (
            Thing("🎸", "a guitar"),
            Thing("🎺", "a trumpet"),
            Thing("🎻", "a violin", "a fiddle"),
            Thing("🥁", "a drum", "a snare"),
            Thing("🎷", "a saxophone"),
            Thing("🎧", "headphones"),
        ),
        (
            Thing("🪗", "an accordion", "a squeezebox"),
            Thing("🎹", "a musical keyboard", "a piano"),
            Thing("🪕", "a banjo"),
            Thing("📻", "a radio"),
            Thing("🎤", "a microphone"),
            Thing("🔔", "a bell"),
        ),
    ),
    Category(
        "sport",
        "roll",
        (
            Thing("⚽", "a soccer ball"),
            Thing("🏀", "a basketball"),
            Thing("🏈", "an American football"),
            Thing("🎾", "a tennis racket"),
            Thing("🥊", "a boxing glove", verb="slide"),
            Thing("🛷", "a sled", "a toboggan", verb="slide"),
        ),
        (
            Thing("⚾", "a baseball"),
            Thing("🏐", "a volleyball"),
            Thing("🥏", "a flying disc", "a frisbee", verb="fly"),
            Thing("🎿", "skis", verb="slide"),
            Thing("🏓", "a ping pong bat", verb="slide"),
            Thing("⛸️", "an ice skate", verb="glide"),
        ),
    ),
    Category(
        "toys and parties",
        "slide",
        (
            Thing("🎈", "a balloon", verb="float"),
            Thing("🧸", "a teddy bear"),
            Thing("🪁", "a kite", verb="fly"),
            Thing("🎁", "a wrapped gift", "a present"),
            Thing("🪀", "a yo-yo", verb="roll"),
            Thing("🎲", "a game die", verb="roll"),
        ),
        (
            Thing("🎃", "a jack-o-lantern", "a pumpkin", verb="roll"),
            Thing("🧩", "a puzzle piece", "a jigsaw"),
            Thing("🎉", "a party popper"),
            Thing("🪆", "nesting dolls"),
            Thing("🎄", "a Christmas tree"),
            Thing("🪅", "a piñata"),
        ),
    ),
    Category(
        "clothing",
        "slide",
        (
            Thing("👕", "a t-shirt"),
            Thing("👖", "jeans", "trousers"),
            Thing("🧦", "socks"),
            Thing("🎩", "a top hat"),
            Thing("👟", "a running shoe", "a sneaker"),
            Thing("👗", "a dress"),
        ),
        (
            Thing("🧥", "a coat", "a jacket"),
            Thing("🧤", "gloves", "mittens"),
            Thing("👓", "glasses"),
            Thing("👢", "a boot"),
            Thing("👑", "a crown"),
            Thing("🎒", "a backpack"),
        ),
    ),
    # Task 5: small life and things at home.
    Category(
        "bugs",
        "crawl",
        (
            Thing("🦋", "a butterfly", verb="flutter"),
            Thing("🐜", "an ant", faces="left"),
            Thing("🐝", "a bee", verb="fly", faces="left"),
            Thing("🐌", "a snail", faces="left"),
            Thing("🐛", "a bug", "a caterpillar", faces="left"),
            Thing("🕷️", "a spider", "a tarantula"),
        ),
        (
            Thing("🐞", "a ladybug", faces="left"),
            Thing("🪲", "a beetle", "a scarab", faces="left"),
            Thing("🦗", "a cricket", "a grasshopper", verb="hop", faces="left"),
            Thing("🪳", "a cockroach", faces="left"),
            Thing("🦟", "a mosquito", verb="fly", faces="left"),
            Thing("🦂", "a scorpion", faces="left"),
        ),
    ),
    Category(
        "plants",
        "glide",
        (
            Thing("🌵", "a cactus"),
            Thing("🌹", "a rose"),
            Thing("🌻", "a sunflower"),
            Thing("🌴", "a palm tree"),
            Thing("🌲", "an evergreen tree", "a fir"),
            Thing("🌷", "a tulip"),
        ),
        (
            Thing("🌳", "a deciduous tree", "an oak"),
            Thing("🌺", "a hibiscus"),
            Thing("🌸", "a cherry blossom"),
            Thing("🍁", "a maple leaf"),
            Thing("🪴", "a potted plant"),
            Thing("🌱", "a seedling", "a sprout"),
        ),
    ),
    Category(
        "drinks",
        "slide",
        (
            Thing("🍺", "a mug of beer", "a mug of ale"),
            Thing("🍷", "a glass of wine"),
            Thing("🥛", "a glass of milk"),
            Thing("☕", "a cup of coffee"),
            Thing("🫖", "a teapot"),
            Thing("🧃", "a juice box"),
        ),
        (
            Thing("🍸", "a cocktail glass", "a martini"),
            Thing("🍹", "a tropical drink"),
            Thing("🍼", "a baby bottle"),
            Thing("🧋", "a bubble tea"),
            Thing("🍶", "a bottle of sake"),
            Thing("🥤", "a cup with a straw", "a soda"),
        ),
    ),
    Category(
        "tools",
        "slide",
        (
            Thing("🔨", "a hammer"),
            Thing("🪓", "an axe", "a hatchet"),
            Thing("🔧", "a wrench", "a spanner"),
            Thing("🪚", "a saw"),
            Thing("🔑", "a key"),
            Thing("✂️", "scissors"),
        ),
        (
            Thing("🪛", "a screwdriver"),
            Thing("⛏️", "a pick", "a pickaxe"),
            Thing("🔩", "a nut and bolt"),
            Thing("🧲", "a magnet"),
            Thing("🪜", "a ladder"),
            Thing("🔦", "a flashlight", "a torch"),
        ),
    ),
)
"""The categories in their fixed order: four in a row make one task of five, two in a row of ten."""


def every_thing() -> tuple[Thing, ...]:
    """All things of both corpora."""
    return tuple(t for c in CATEGORIES for t in (*c.things, *c.others))


def held_out_words() -> frozenset[str]:
    """The words the tiny CLIP must never read in pre-training: those only an alias uses."""
    known = {word for t in every_thing() for word in t.name.lower().split()}
    aliases = {word for t in every_thing() if t.alias for word in t.alias.lower().split()}
    return frozenset(aliases - known)
