"""Random demonstrations, drawn anew for each query and the same whatever else is asked."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from selector.data.pool import Pool
from selector.strategies.base import allowed_positions
from selector.types import Query, Selection


def query_generator(query: Query, *, seed: int) -> np.random.Generator:
    """Makes the source of a query's random choices.

    Args:
        query: Its uid takes part in the seed, so that a choice does not depend on the batch.
        seed: The selector's seed.

    Returns:
        The generator.
    """
    of_query = int.from_bytes(hashlib.sha256(query.uid.encode()).digest()[:8], "big")
    return np.random.default_rng([seed, of_query])


class RandomSelector:
    """Draws demonstrations without replacement.

    Args:
        pool: The pool.
        seed: With the query's uid it seeds the draw, so that a choice does not depend on the batch.
    """

    def __init__(self, pool: Pool, *, seed: int = 0) -> None:
        self._pool = pool
        self._seed = seed

    def select(self, queries: Sequence[Query], k: int) -> list[Selection]:
        """Draws k demonstrations for each query; see `Selector.select`."""
        return [self._draw(query, k) for query in queries]

    def _draw(self, query: Query, k: int) -> Selection:
        allowed = allowed_positions(self._pool, query, k)
        rng = query_generator(query, seed=self._seed)
        return Selection.of(*(int(position) for position in rng.choice(allowed, k, replace=False)))
