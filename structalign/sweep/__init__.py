"""`structalign sweep`: many runs over the same features, and the tables that they give."""
