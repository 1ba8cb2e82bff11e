"""Tests of the points at which a training is evaluated."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import torch
from hypothesis import given
from hypothesis import strategies as st

from policies.evaluation_points import EvaluationPoints, evaluation_points


def test_patience_that_ended_before_a_kill_has_ended_behind_it(tmp_path: Path) -> None:
    """Guards a training that was killed behind its last evaluation: the trainer takes one more step, which judged."""
    values = iter([0.5, 0.4, 0.4, 0.9])

    def points() -> EvaluationPoints:
        given = {"folder": tmp_path, "evaluate": lambda: next(values), "patience": 2, "advance": lambda _: None}
        return EvaluationPoints(torch.nn.Linear(1, 1), [1, 2, 3], **given)  # type: ignore[arg-type]

    control, first = SimpleNamespace(should_training_stop=False, should_save=False), points()
    first.on_train_begin(None, SimpleNamespace(global_step=0), control)
    for step in (1, 2):
        first.on_step_end(None, SimpleNamespace(global_step=step), control)
    assert control.should_training_stop
    again, second = SimpleNamespace(should_training_stop=False, should_save=False), points()
    second.on_train_begin(None, SimpleNamespace(global_step=2), again)
    again.should_training_stop = False  # as transformers does when it begins
    second.on_step_end(None, SimpleNamespace(global_step=3), again)
    assert again.should_training_stop
    assert second.evaluations == first.evaluations == [0.5, 0.4, 0.4]


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
