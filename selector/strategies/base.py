"""The contract of a selector, and the one law that all of them share: leave-one-out.

A selector never returns the query itself or a duplicate of it. Queries come in batches. The returned indices are in
prompt order: the last stands next to the query. Nothing here knows how candidates are ranked.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from selector.data.pool import Pool
from selector.errors import TooFewExamplesError
from selector.types import Query, Selection


@runtime_checkable
class Selector(Protocol):
    """Chooses demonstrations for queries."""

    def select(self, queries: Sequence[Query], k: int) -> list[Selection]:
        """Chooses up to k demonstrations for each query.

        Args:
            queries: N queries.
            k: Demonstrations for each query; 0 gives empty selections.

        Returns:
            N selections of at most k distinct pool positions in prompt order, never the query or its duplicate.

        Raises:
            TooFewExamplesError: When the pool without the query and its duplicates holds fewer than k.
        """
        ...


def excluded_positions(pool: Pool, query: Query, k: int) -> frozenset[int]:
    """Finds the pool positions that may not stand in a query's prompt, and makes sure that enough others are left.

    Args:
        pool: The pool.
        query: The query.
        k: How many demonstrations will be chosen.

    Returns:
        The query's own position and those of its duplicates.

    Raises:
        TooFewExamplesError: When the pool without them holds fewer than k.
    """
    excluded = pool.duplicates_of(query)
    available = len(pool) - len(excluded)
    if available < k:
        raise TooFewExamplesError(available=available, wanted=k)
    return excluded


def require_enough(pool: Pool, query: Query, k: int) -> None:
    """Makes sure that leave-one-out leaves enough of the pool.

    Args:
        pool: The pool.
        query: The query.
        k: How many demonstrations will be chosen.

    Raises:
        TooFewExamplesError: When the pool without the query and its duplicates holds fewer than k.
    """
    excluded_positions(pool, query, k)


def allowed_positions(pool: Pool, query: Query, k: int) -> list[int]:
    """Lists the pool positions that may stand in a query's prompt.

    Args:
        pool: The pool.
        query: The query.
        k: How many demonstrations will be chosen.

    Returns:
        Every position except the query's own and its duplicates', ascending.

    Raises:
        TooFewExamplesError: When fewer than k are left.
    """
    excluded = excluded_positions(pool, query, k)
    return [position for position in range(len(pool)) if position not in excluded]
