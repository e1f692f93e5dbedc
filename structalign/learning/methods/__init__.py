"""A method is a file here: what it trains, its loss, what it remembers and its paper, as METHOD.

To add one: a file, and a line in `structalign.params.method`. The chosen method's file alone is imported
(`learning.loading`), so that DVC re-runs training for no other.
"""
