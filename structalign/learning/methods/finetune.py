"""StructAlign's model trained only with L_con: the baseline for its other losses."""

from structalign.learning.method import Method

METHOD = Method()
