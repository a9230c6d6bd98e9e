"""Fingerprints: equal for equal values, different for anything else."""

from hypothesis import given
from hypothesis import strategies as st

from schemas.base import fingerprint
from schemas.recipe import Recipe, SyncRecipe

plain = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.text()
    | st.floats(allow_nan=False, allow_infinity=False)
)


@given(st.lists(plain), st.lists(plain))
def test_only_equal_parts_share_a_fingerprint(here: list[object], there: list[object]) -> None:
    same = [repr(x) for x in here] == [repr(x) for x in there]

    assert (fingerprint(*here) == fingerprint(*there)) == same  # type: ignore[arg-type]


def test_any_choice_of_the_recipe_moves_the_fingerprint() -> None:
    changed = Recipe(sync=SyncRecipe(max_offset_s=4.9))

    assert fingerprint(Recipe()) != fingerprint(changed)


def test_a_recipe_is_written_and_read_with_the_word_of_its_stage() -> None:
    written = Recipe().model_dump(mode="json")

    assert "register" in written
    assert Recipe.model_validate(written) == Recipe()
