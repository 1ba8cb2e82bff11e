"""Tests of the study of what labels alone give."""

from __future__ import annotations

import numpy as np

from benchmarks.ceiling_study import COLUMNS, ceiling_lines, label_rules, voted
from selector.data.task import Task
from selector.strategies.retriever import RetrieverSelector
from selector.testing import ToyEncoder


def test_the_vote_goes_by_weight_and_ties_to_the_nearest() -> None:
    """Guards a tie that the label with the smaller number wins, whatever was nearest."""
    shown = np.array([[1, 0, 0, 1], [0, 1, 1, 1], [2, 1, 0, 0]])
    assert voted(shown, np.ones((3, 4)), 3).tolist() == [1, 1, 0]
    assert voted(shown, np.array([[1.0, 1, 1, 1], [9, 1, 1, 1], [5, 1, 1, 1]]), 3).tolist() == [1, 0, 2]


def test_no_rule_beats_the_labels_that_are_there() -> None:
    """Guards the ceiling: a vote among candidates cannot be right more often than one of them is."""
    task = Task.load("rotten-tomatoes")
    found = label_rules(task, RetrieverSelector(task.pool, ToyEncoder(), labelled_demonstrations=False), task.test[:40])
    assert set(found) == set(COLUMNS)
    assert found["vote of 8"] <= found["gold among 8"] <= found["gold among 32"]
    assert found["weighted vote of 32"] <= found["gold among 32"]


def test_means_weigh_tasks_alike() -> None:
    """Guards a task with three seeds against counting three times."""
    cells = [{"task": "a", "queries": 5, **dict.fromkeys(COLUMNS, value)} for value in (0.5, 0.7)]
    cells.append({"task": "b", "queries": 5, **dict.fromkeys(COLUMNS, 1.0)})
    lines = ceiling_lines(cells)
    assert lines[2].startswith("| a | 2 x 5 | 60.0 |")
    assert lines[4].startswith("| **mean** | | **80.0** |")
