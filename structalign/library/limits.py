"""The limits of a search. Commands import them without loading what searches."""

FIRST, MOST = 200, 2000  # candidates: at first, and at most
BUDGET = 250_000_000  # stored numbers that exact search reads at most, unless asked for: 0.2 s of one thread
