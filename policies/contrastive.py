"""From mined candidates to training rows and batches: which text is pulled to which query, and pushed from which.

In a batch every demonstration of another row is a negative. Batches are planned so that none of those is known to be
good for the query. This module knows neither encoders nor trainers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from policies.mined import MinedQuery
from selector.data.pool import Pool
from selector.types import Example

OPEN_BATCHES = 32  # batches that still take rows while others are planned; bounds the work


@dataclass(frozen=True, slots=True)
class TrainingQuery:
    """A query with what it is drawn to and driven from.

    Attributes:
        query: The query.
        positives: Pool positions of the best candidates, best first; not empty.
        negatives: Pool positions of the worst candidates, worst last; not empty, each scored below every positive.
    """

    query: Example
    positives: tuple[int, ...]
    negatives: tuple[int, ...]


class Row(NamedTuple):
    """One training row.

    Attributes:
        query: The query.
        positive: Pool position of a good demonstration.
        negative: Pool position of a bad one.
    """

    query: Example
    positive: int
    negative: int


def split_candidates(mined: MinedQuery, *, positives: int, negatives: int) -> TrainingQuery | None:
    """Takes the top of a query's list as positives and its bottom as hard negatives (Rubin et al., 2022).

    With few candidates either takes at most half of them. Ties across the border are left out.

    Args:
        mined: The query with its candidates, best first.
        positives: How many positives at most.
        negatives: How many negatives at most.

    Returns:
        The split, or None when the candidates are all equally good and nothing can be learned from them.
    """
    half = len(mined.candidates) // 2
    bottom = [
        candidate
        for candidate in mined.candidates[len(mined.candidates) - min(negatives, half) :]
        if candidate.score < mined.candidates[0].score
    ]
    if not bottom:
        return None
    top = [candidate for candidate in mined.candidates[: min(positives, half)] if candidate.score > bottom[0].score]
    return TrainingQuery(mined.query, tuple(one.position for one in top), tuple(one.position for one in bottom))


def plan_batches(
    queries: Sequence[TrainingQuery], pool: Pool, *, epochs: int, batch_size: int, seed: int
) -> list[list[Row]]:
    """Draws one row for each query and epoch, and packs rows into batches without false negatives.

    Each row has a random positive and a random hard negative of its query. No batch holds, as another row's
    demonstration, a positive of a query, the query itself as a member of the pool, or a duplicate of these.

    Args:
        queries: The training queries.
        pool: What positions refer to.
        epochs: How often each query has a row.
        batch_size: The most rows in a batch.
        seed: Seeds the draws.

    Returns:
        The batches in training order; none is empty.
    """
    rng = np.random.default_rng(seed)
    barred = [_barred(query, pool) for query in queries]
    planned: list[_Batch] = []
    for _ in range(epochs):
        unfilled: list[_Batch] = []
        for number in map(int, rng.permutation(len(queries))):
            query = queries[number]
            row = Row(query.query, int(rng.choice(query.positives)), int(rng.choice(query.negatives)))
            batch = next((batch for batch in unfilled if batch.admits(row, barred[number])), None)
            if batch is None:
                batch = _Batch()
                planned.append(batch)
                unfilled = [*unfilled[1 - OPEN_BATCHES :], batch]
            batch.add(row, barred[number])
            if len(batch.rows) == batch_size:
                unfilled.remove(batch)
    return [batch.rows for batch in planned]


@dataclass(eq=False)
class _Batch:
    """A batch in the making: its rows, the demonstrations they show, and those that they bar."""

    rows: list[Row] = field(default_factory=list)
    shown: set[int] = field(default_factory=set)
    barred: set[int] = field(default_factory=set)

    def admits(self, row: Row, barred: frozenset[int]) -> bool:
        return not ({row.positive, row.negative} & self.barred or self.shown & barred)

    def add(self, row: Row, barred: frozenset[int]) -> None:
        self.rows.append(row)
        self.shown |= {row.positive, row.negative}
        self.barred |= barred


def _barred(query: TrainingQuery, pool: Pool) -> frozenset[int]:
    """The positions that must not be a negative of the query."""
    return frozenset().union(
        pool.duplicates_of(query.query), *(pool.duplicates_of(pool[position]) for position in query.positives)
    )
