import pytest

from structalign.errors import UserError
from structalign.learning.methods import METHODS, chosen, method_named
from structalign.sections.method import MethodName


def test_an_unknown_method_is_answered_with_the_known_ones() -> None:
    with pytest.raises(UserError, match=f"'magic'.*{', '.join(METHODS)}"):
        method_named("magic")


def test_zero_shot_trains_nothing() -> None:
    assert method_named("zero_shot").trains == ()


def test_finetune_has_the_contrastive_loss_alone() -> None:
    assert [term.name for term in method_named("finetune").terms] == ["contrastive"]


@pytest.mark.parametrize("name", METHODS)
def test_every_row_that_trains_takes_the_task_prior_where_params_yaml_asks_for_all(name: str) -> None:
    row = chosen(MethodName.model_validate({"name": name, "task_prior": "all"}))
    assert row.task_prior == (name != "zero_shot")


def test_structalign_and_its_light_variant_alone_have_the_task_prior_of_their_own() -> None:
    found = {
        name for name in METHODS if chosen(MethodName.model_validate({"name": name, "task_prior": "own"})).task_prior
    }
    assert found == {"structalign", "head_only"}
