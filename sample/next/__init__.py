"""The sample that is to come: a corpus that measures forgetting, and what measures the corpus.

DESIGN.md has the rule by which it is chosen. Until its criteria are met on three seeds, the package above makes the
sample that a clone carries.
"""
