"""StructAlign's model trained with L_con alone: the reference that its other losses are measured against."""

from structalign.learning.method import Method

METHOD = Method()
