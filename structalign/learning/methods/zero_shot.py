"""Zero-shot CLIP: no modules and no training.

Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", ICML 2021, arXiv 2103.00020.
"""

from structalign.learning.method import Method

METHOD = Method(modules=(), trains=(), terms=())
