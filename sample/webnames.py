"""The words of pre-training: those that the tiny CLIP reads, and those that it never reads."""

NAMES: dict[str, str] = {
    "🐙": "an octopus",
    "🐝": "a bee",
    "🐞": "a ladybug",
    "🌺": "a hibiscus",
    "🌵": "a cactus",
    "🍎": "an apple",
    "🧄": "a garlic bulb",
    "🍕": "a slice of pizza",
    "🍳": "a fried egg",
    "🍝": "a plate of spaghetti",
    "🍦": "an ice cream",
    "☕": "a cup of coffee",
    "🍶": "a bottle of sake",
    "🍷": "a glass of wine",
    "🍺": "a mug of beer",
    "🥤": "a cup with a straw",
    "🧃": "a juice box",
    "🚌": "a bus",
    "🚗": "a car",
    "☀": "the sun",
    "🌧": "a rain cloud",
    "⚡": "a lightning bolt",
    "⛄": "a snowman",
    "🏈": "an American football",
    "🎾": "a tennis racket",
    "🏓": "a ping pong bat",
    "👢": "a boot",
    "🎧": "headphones",
    "🪚": "a saw",
}
"""Phrases that replace the names in Unicode's data, by emoji without variation selectors."""

UNREAD = frozenset(
    (
        *("ale", "alligator", "aubergine", "bilberries", "biscuit", "bonbon", "brontosaurus", "bull", "bunny"),
        *("caterpillar", "chapel", "chili", "chopper", "clownfish", "coach", "fiddle", "fir", "frankfurter"),
        *("frisbee", "gateau", "grasshopper", "hatchet", "hawk", "hog", "jacket", "jigsaw", "liner", "macaw"),
        *("mandarin", "martini", "meteor", "mittens", "moped", "motorbike", "nectarine", "oak", "pagoda"),
        *("paprika", "pasta", "piano", "pickaxe", "pigeon", "porpoise", "prawn", "present", "puffer", "pumpkin"),
        *("scarab", "shack", "snare", "sneaker", "soda", "spanner", "sprout", "spud", "squeezebox", "squirrel"),
        *("stew", "tarantula", "thunderbolt", "toad", "toboggan", "torch", "trousers", "twister", "ufo", "van"),
        *("wrap", "yacht"),
    )
)
"""Words that the CLIP never reads. Pre-training leaves out emoji with such a word in their name."""

VERBS = (
    *("crawl", "drift", "drive", "float", "flutter", "fly", "gallop", "glide", "hop", "race", "roll"),
    *("run", "sail", "scuttle", "slide", "slither", "stomp", "swim", "trot", "waddle", "walk"),
)
"""Verbs of motion, given to the subjects in turn. A still picture does not show them."""
