"""Tests of the values that flow through every stage."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selector.errors import InvalidExampleError, ShotsmithError
from selector.types import Example, Prediction, Selection


@pytest.mark.parametrize("fields", [{}, {"text": 3}, {"text": None}])
def test_an_example_is_text(fields: dict[str, object]) -> None:
    """Guards every later stage, which joins and tokenises fields without looking."""
    with pytest.raises(InvalidExampleError, match="expected"):
        Example("a", fields)  # type: ignore[arg-type]


def test_an_example_needs_a_uid() -> None:
    """Guards leave-one-out, which is by uid."""
    with pytest.raises(InvalidExampleError, match="uid"):
        Example("", {"text": "x"})


@pytest.mark.parametrize(("indices", "scores"), [((1, 1), (0.0, 0.0)), ((-1,), (0.0,)), ((1, 2), (0.0,))])
def test_a_selection_holds_distinct_positions_with_one_score_each(
    indices: tuple[int, ...], scores: tuple[float, ...]
) -> None:
    """Guards against a demonstration shown twice, and against Python's negative indices."""
    with pytest.raises(ShotsmithError, match="expected"):
        Selection(indices, scores)


@given(st.lists(st.floats(-2000, 2000), min_size=1, max_size=5))
def test_probabilities_are_a_distribution_in_the_order_of_the_scores(scores: list[float]) -> None:
    """Guards the softmax against overflow, and against turning the ranking around."""
    named = {str(number): score for number, score in enumerate(scores)}
    probabilities = Prediction("0", named, Selection.of()).probabilities
    assert sum(probabilities.values()) == pytest.approx(1)
    assert probabilities[max(named, key=named.__getitem__)] == max(probabilities.values())


def test_errors_say_found_expected_and_what_to_do() -> None:
    """Guards the one line that a user reads."""
    error = ShotsmithError("found x", expected="y", remedy="Do z.")
    assert str(error) == "found x; expected y. Do z."
    assert (error.found, error.expected, error.remedy) == ("found x", "y", "Do z.")
