"""Tests of the points at which a training is evaluated."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from policies.evaluation_points import evaluation_points


@given(lengths=st.lists(st.integers(1, 50), min_size=1, max_size=6), at_least=st.integers(1, 12))
def test_points_of_evaluation(lengths: list[int], at_least: int) -> None:
    """Guards points outside a training, an epoch whose end is missed, and a last step that is not evaluated."""
    ends = [sum(lengths[: number + 1]) for number in range(len(lengths))]
    points = evaluation_points(ends, at_least)
    assert points == sorted(set(points))
    assert points[0] >= 1
    assert points[-1] == ends[-1]
    assert set(ends) <= set(points)
    assert len(points) >= min(at_least, ends[-1])
