"""The methods, one file each. METHOD says what a method trains, its loss and what it remembers.

To add one, write a file here and a line in `structalign.params.method`. Only the chosen method's file is imported
(`learning.loading`). So DVC does not re-run training after an edit of another method.
"""
