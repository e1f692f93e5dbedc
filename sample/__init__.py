"""Makes the embedded sample: a small video corpus and the tiny CLIP that stands in for a large one.

Nothing in the library imports this package. A clone only carries what it produced.
"""
