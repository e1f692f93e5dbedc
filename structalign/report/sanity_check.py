"""Compare zero-shot CLIP with its published score. A difference means other frames, splits or backbones."""

from structalign.params.reference import Reference

NEAR = 1.0  # points of R@1


def verdict(found: float, categories: int, reference: Reference) -> str:
    """One sentence about R@1 with this number of categories. Empty if no score is published for it.

    >>> verdict(21.9, 20, Reference(zero_shot=22.14, categories=20))
    'zero-shot 21.90, published 22.14: frames and split look right'
    """
    if reference.zero_shot == "none" or categories != reference.categories:
        return ""
    both = f"zero-shot {found:.2f}, published {reference.zero_shot:.2f}"
    if abs(found - reference.zero_shot) <= NEAR:
        return f"{both}: frames and split look right"
    return f"{both}: more than {NEAR:g} point apart, so check frames, split and backbone before you train"
