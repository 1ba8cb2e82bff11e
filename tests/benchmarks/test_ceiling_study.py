"""Tests of the study of what labels alone give."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np

from benchmarks.ceiling_study import COLUMNS, ceiling_lines, combined, label_rules, voted
from selector.data.task import Task
from selector.strategies.retriever import RetrieverSelector
from selector.testing import ToyEncoder, planted_examples, planted_pool, planted_template
from selector.types import Example, Selection


def test_the_vote_goes_by_weight_and_ties_to_the_nearest() -> None:
    """Guards a tie that the label with the smaller number wins, whatever was nearest."""
    shown = np.array([[1, 0, 0, 1], [0, 1, 1, 1], [2, 1, 0, 0]])
    assert voted(shown, np.ones((3, 4)), 3).tolist() == [1, 1, 0]
    assert voted(shown, np.array([[1.0, 1, 1, 1], [9, 1, 1, 1], [5, 1, 1, 1]]), 3).tolist() == [1, 0, 2]


def test_no_rule_beats_the_labels_that_are_there() -> None:
    """Guards the ceiling: a vote among candidates cannot be right more often than one of them is."""
    task = Task.load("rotten-tomatoes")
    found = label_rules(task, RetrieverSelector(task.pool, ToyEncoder(), labelled_demonstrations=False), task.test[:40])
    assert {*found, "combined"} == set(COLUMNS)
    assert found["vote of 8"] <= found["gold among 8"] <= found["gold among 32"]
    assert found["weighted vote of 32"] <= found["gold among 32"]


def test_the_combination_learns_whom_to_trust() -> None:
    """Guards the weights: where neighbours know nothing and the language model all, it is right; and the other way."""
    pool, queries = planted_pool(40), planted_examples(30, seed=3, prefix="q")
    template = planted_template()

    class Oracle:
        """Scores labels by gold, or by chance."""

        def __init__(self, knows: bool) -> None:
            self.template, self.knows, self.rng = template, knows, np.random.default_rng(0)

        def gold_columns(self, asked: Sequence[Example]) -> np.ndarray:
            return np.array([template.labels.index(str(query.label)) for query in asked])

        def score(self, asked: Sequence[Example], selections: Sequence[Selection]) -> np.ndarray:
            sure = np.where(np.arange(2) == self.gold_columns(asked)[:, None], 0.0, -3.0)
            return sure if self.knows and len(selections[0].indices) else self.rng.normal(size=(len(asked), 2))

    class Votes:
        def __init__(self, right: bool) -> None:
            self.right, self.rng = right, np.random.default_rng(1)

        def select(self, asked: Sequence[Example], k: int) -> list[Selection]:
            drawn = [self.rng.permutation(len(pool)) for _ in asked]
            return [
                Selection.of(*[int(at) for at in order if not self.right or pool[int(at)].label == query.label][:k])
                for order, query in zip(drawn, asked, strict=True)
            ]

    for knows, right, least, most in ((True, False, 0.95, 1.0), (False, True, 0.95, 1.0), (False, False, 0.2, 0.8)):
        task = SimpleNamespace(pool=pool, template=template, dev=planted_examples(60, seed=4, prefix="d"))
        workspace = SimpleNamespace(task=task, engine=Oracle(knows))
        assert least <= combined(workspace, Votes(right), queries) <= most  # type: ignore[arg-type]


def test_means_weigh_tasks_alike() -> None:
    """Guards a task with three seeds against counting three times."""
    cells = [{"task": "a", "queries": 5, **dict.fromkeys(COLUMNS, value)} for value in (0.5, 0.7)]
    cells.append({"task": "b", "queries": 5, **dict.fromkeys(COLUMNS, 1.0)})
    lines = ceiling_lines(cells)
    assert lines[2].startswith("| a | 2 x 5 | 60.0 |")
    assert lines[4].startswith("| **mean** | | **80.0** |")
