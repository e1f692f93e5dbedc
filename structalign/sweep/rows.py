"""The names of rows in a run's file. A run has a row for each ranking."""

SENTENCE = "sentence"  # the ranking by which zero-shot CLIP is published
TRUE_TASK = "true task"  # R@1 of a ranking that knows the task of a query
RESERVED = (SENTENCE, TRUE_TASK)


def row_of(method: str, ranking: str | None = None) -> str:
    """The row of the plain ranking, by `ranking` of params.yaml, or of a further one with a name."""
    return method if ranking is None else f"{method}, {ranking}"
