import pytest

from structalign.errors import UserError
from structalign.learning.methods import METHODS, method_named


def test_an_unknown_method_is_answered_with_the_known_ones() -> None:
    with pytest.raises(UserError, match=f"'magic'.*{', '.join(METHODS)}"):
        method_named("magic")


def test_zero_shot_trains_nothing() -> None:
    assert method_named("zero_shot").trains == ()


def test_finetune_has_the_contrastive_loss_alone() -> None:
    assert [term.name for term in method_named("finetune").terms] == ["contrastive"]
