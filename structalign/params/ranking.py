"""`ranking`: the weight of each signal in the fused score."""

from pydantic import Field

from structalign.params.section import Section


class Ranking(Section):
    """`beta` weights the two similarities. Each further key is the weight of that signal (`search.signals`).

    To add a signal, add a key with default 0 (`section.Section`).
    """

    beta: float = Field(
        ge=0,
        le=1,
        description="share of word-frame similarity in the fused score",
        json_schema_extra={"paper": "0.5"},
    )
    task_prior: float = Field(
        ge=0,
        le=100_000,
        description="weight of log p(task | caption) in the fused score",
        json_schema_extra={"paper": "0"},
    )
    word_prior: float = Field(
        0.0,
        ge=0,
        le=100_000,
        description="weight of log p(task | caption) by a bag of words, a trivial rule for comparison",
        json_schema_extra={"paper": "0"},
    )

    def weights(self) -> dict[str, float]:
        """Each signal's weight."""
        words, sentence = SIMILARITIES
        return {words: self.beta, sentence: 1 - self.beta} | {name: getattr(self, name) for name in ADDED}


SIMILARITIES = ("words", "sentence")
ADDED = tuple(name for name in Ranking.model_fields if name != "beta")
SIGNALS = (*SIMILARITIES, *ADDED)
