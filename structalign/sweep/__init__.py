"""`structalign sweep`: many runs over the same features, and tables of their results."""
