"""From training queries to batches of rows: which text is pulled to which query, and pushed from which.

In a batch every demonstration of another row may be a negative. Batches are planned so that none of those is known to
be good for the query; the loss leaves out those that merely bear its label. This module knows neither encoders nor
trainers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from policies.label_rule import TrainingQuery
from selector.data.pool import Pool
from selector.types import Example

OPEN_BATCHES = 32  # batches that still take rows while others are planned; bounds the work


class Row(NamedTuple):
    """One training row.

    Attributes:
        query: The query.
        positive: Pool position of a good demonstration.
        negatives: Pool positions of bad ones.
        scores: Of the positive and the negatives, nats.
    """

    query: Example
    positive: int
    negatives: tuple[int, ...]
    scores: tuple[float, ...]

    @property
    def candidates(self) -> tuple[int, ...]:
        """The positive and the negatives."""
        return (self.positive, *self.negatives)


def plan_batches(
    queries: Sequence[TrainingQuery], pool: Pool, *, epochs: int, batch_size: int, negatives: int, seed: int
) -> list[list[list[Row]]]:
    """Draws one row for each query and epoch, and packs rows into batches without known false negatives.

    Each row has a random positive and random hard negatives of its query. No batch holds, as another row's
    demonstration, a positive of a query, the query itself as a member of the pool, or a duplicate of these.

    Args:
        queries: The training queries.
        pool: What positions refer to.
        epochs: How often each query has a row.
        batch_size: The most rows in a batch.
        negatives: Hard negatives of a row; of a query with fewer some are drawn again.
        seed: Seeds the draws.

    Returns:
        The batches of each epoch in training order; none is empty.
    """
    rng = np.random.default_rng(seed)
    barred = [_barred(query, pool) for query in queries]
    planned = []
    for _ in range(epochs):
        batches: list[_Batch] = []
        unfilled: list[_Batch] = []
        for number in map(int, rng.permutation(len(queries))):
            row = _row(queries[number], negatives, rng)
            batch = next((batch for batch in unfilled if batch.admits(row, barred[number])), None)
            if batch is None:
                batch = _Batch()
                batches.append(batch)
                unfilled = [*unfilled[1 - OPEN_BATCHES :], batch]
            batch.add(row, barred[number])
            if len(batch.rows) == batch_size:
                unfilled.remove(batch)
        planned.append([batch.rows for batch in batches])
    return planned


def _row(query: TrainingQuery, negatives: int, rng: np.random.Generator) -> Row:
    positive = int(rng.choice(query.positives))
    again = len(query.negatives) < negatives
    drawn = tuple(map(int, rng.choice(query.negatives, negatives, replace=again)))
    return Row(query.query, positive, drawn, tuple(query.scores[position] for position in (positive, *drawn)))


@dataclass(eq=False)
class _Batch:
    """A batch in the making: its rows, the demonstrations they show, and those that they bar."""

    rows: list[Row] = field(default_factory=list)
    shown: set[int] = field(default_factory=set)
    barred: set[int] = field(default_factory=set)

    def admits(self, row: Row, barred: frozenset[int]) -> bool:
        return self.barred.isdisjoint(row.candidates) and self.shown.isdisjoint(barred)

    def add(self, row: Row, barred: frozenset[int]) -> None:
        self.rows.append(row)
        self.shown.update(row.candidates)
        self.barred |= barred


def _barred(query: TrainingQuery, pool: Pool) -> frozenset[int]:
    """The positions that must not be a negative of the query."""
    return frozenset().union(
        pool.duplicates_of(query.query), *(pool.duplicates_of(pool[position]) for position in query.positives)
    )
