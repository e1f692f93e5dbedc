"""Frozen towers with one residual linear map per modality, trained by StructAlign's losses.

It is the light variant that the paper's discussion asks for (arXiv 2601.20597). No tower runs in a training step.
"""

from structalign.learning.method import Method
from structalign.learning.methods.structalign import TERMS, remember_prototypes

METHOD = Method(
    modules=("maps",),
    trains=("maps", "head"),
    input_kind="embeddings",
    terms=TERMS,
    update_memory=remember_prototypes,
)
