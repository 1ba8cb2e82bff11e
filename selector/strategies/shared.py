"""One set for every query, and the law that a query which duplicates a member still never sees it.

A shared set lets the language model compute the demonstrations once for all queries. Nothing here knows how the set is
chosen.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence

from selector.data.pool import Pool
from selector.strategies.base import require_enough
from selector.types import Query, Selection


class SharedSetSelector(ABC):
    """Shows every query the same set, chosen the first time a number of shots is wanted.

    A query that duplicates a member gets, in that member's place, the best example outside the set: the next of the
    ranking where the set was chosen by one, else the first of the pool.

    Args:
        pool: The pool.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._chosen: dict[int, Selection] = {}

    def select(self, queries: Sequence[Query], k: int) -> list[Selection]:
        """Gives every query the set of k; see `Selector.select`."""
        if not k or not queries:
            return [Selection((), ()) for _ in queries]
        for query in queries:
            require_enough(self._pool, query, k)
        if k not in self._chosen:
            self._chosen[k] = self._choose(k)
        return [self._without_query(query, k) for query in queries]

    @abstractmethod
    def _choose(self, k: int) -> Selection:
        """Chooses the set; the pool holds at least k, and k is 1 or more."""

    def _spares(self, k: int) -> Iterable[tuple[int, float]]:
        """Positions and scores that may stand in for a member, best first; the rest of the pool follows them."""
        del k
        return ()

    def _without_query(self, query: Query, k: int) -> Selection:
        shared, excluded = self._chosen[k], self._pool.duplicates_of(query)
        if excluded.isdisjoint(shared.indices):
            return shared
        spares = dict(self._spares(k))
        for position in range(len(self._pool)):
            spares.setdefault(position, 0.0)
        taken = excluded.union(shared.indices)
        left = iter([(position, score) for position, score in spares.items() if position not in taken])
        shown = [
            next(left) if index in excluded else (index, score)
            for index, score in zip(shared.indices, shared.scores, strict=True)
        ]
        return Selection(tuple(index for index, _ in shown), tuple(score for _, score in shown))
