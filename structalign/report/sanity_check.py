"""Does zero-shot CLIP score here what was published for it? If not, the frames, the split or the backbone differ."""

from structalign.params.reference import Reference

NEAR = 1.0  # points of R@1


def verdict(found: float, categories: int, reference: Reference) -> str:
    """One sentence about R@1 of the queries of so many categories; empty where nothing is published for them.

    >>> verdict(21.9, 20, Reference(zero_shot=22.14, categories=20))
    'zero-shot 21.90, published 22.14: frames and split look right'
    """
    if reference.zero_shot == "none" or categories != reference.categories:
        return ""
    both = f"zero-shot {found:.2f}, published {reference.zero_shot:.2f}"
    if abs(found - reference.zero_shot) <= NEAR:
        return f"{both}: frames and split look right"
    return f"{both}: off by more than {NEAR:g} point, check frames, split or backbone before you train"
