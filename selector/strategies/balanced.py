"""Random demonstrations with as many of each label as of any other, drawn anew for each query."""

from __future__ import annotations

from collections.abc import Sequence

from selector.data.pool import Pool
from selector.strategies.base import allowed_positions
from selector.strategies.random import query_generator
from selector.types import Query, Selection


class BalancedSelector:
    """Draws demonstrations without replacement, label by label in turn; their order is random.

    Labels whose examples run out are passed over. Which labels get one more, where k does not divide, is drawn too.

    Args:
        pool: The pool.
        seed: With the query's uid it seeds the draw, so that a choice does not depend on the batch.

    Raises:
        OwnChoicesError: When examples have choices of their own.
    """

    def __init__(self, pool: Pool, *, seed: int = 0) -> None:
        pool.require_shared_labels("balance of labels")
        self._pool = pool
        self._seed = seed

    def select(self, queries: Sequence[Query], k: int) -> list[Selection]:
        """Draws k demonstrations for each query; see `Selector.select`."""
        return [self._draw(query, k) for query in queries]

    def _draw(self, query: Query, k: int) -> Selection:
        generator = query_generator(query, seed=self._seed)
        of_label: dict[str, list[int]] = {
            self._pool.labels[at]: [] for at in generator.permutation(len(self._pool.labels))
        }
        for position in generator.permutation(allowed_positions(self._pool, query, k)):
            of_label[str(self._pool[int(position)].label)].append(int(position))
        chosen: list[int] = []
        while len(chosen) < k:
            in_turn = [positions.pop() for positions in of_label.values() if positions]
            chosen += in_turn[: k - len(chosen)]
        return Selection.of(*(int(position) for position in generator.permutation(chosen)))
