from hypothesis import given
from hypothesis import strategies as st

from structalign.seeds import seed_of

keys = st.lists(st.one_of(st.integers(), st.text("abc/_1")), max_size=4)


@given(keys)
def test_a_seed_fits_a_generator(key: list[str | int]) -> None:
    assert 0 <= seed_of(*key) < 2**63


@given(keys, keys)
def test_different_keys_have_different_seeds(one: list[str | int], other: list[str | int]) -> None:
    alike = [str(part) for part in one] == [str(part) for part in other] or {len(one), len(other)} == {0, 1}
    assert alike or seed_of(*one) != seed_of(*other)


def test_parts_of_a_key_are_kept_apart() -> None:
    assert seed_of("ab", "c") != seed_of("a", "bc")


def test_a_seed_is_the_same_on_every_machine() -> None:
    assert seed_of(0, "order", "t03", 1) == 8638443458142562854
