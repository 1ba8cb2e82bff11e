"""Demonstrations named by their uids: a prompt written by hand, or one taken over from elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from selector.data.pool import Pool
from selector.errors import TooFewExamplesError, UsageError
from selector.strategies.shared import SharedSetSelector
from selector.types import Selection


class FixedSelector(SharedSetSelector):
    """Shows every query the examples that are named, in the order in which they are named.

    Of more names than shots the first are shown. A query that duplicates one of those gets, in its place, the next
    name, or the first pool example where there is none.

    Args:
        pool: The pool.
        uids: Uids of members, in prompt order.

    Raises:
        UsageError: When the pool has no such uid, or one is named twice or none at all.
    """

    def __init__(self, pool: Pool, uids: Sequence[str]) -> None:
        super().__init__(pool)
        positions = {example.uid: position for position, example in enumerate(pool)}
        unknown = [uid for uid in uids if uid not in positions]
        if unknown:
            raise UsageError(
                f"the pool has no example with the uid {unknown[0]!r}",
                expected=f"uids of the pool, such as {pool[0].uid!r}",
                remedy="Correct the uids of the fixed demonstrations.",
            )
        if not uids or len(set(uids)) < len(uids):
            raise UsageError(
                f"the fixed demonstrations are {list(uids)}",
                expected="at least one uid, each once",
                remedy="Correct the uids of the fixed demonstrations.",
            )
        self._positions = tuple(positions[uid] for uid in uids)

    def require(self, k: int) -> None:
        """Makes sure that enough demonstrations are named.

        Args:
            k: How many will be wanted.

        Raises:
            TooFewExamplesError: When there are fewer.
        """
        if len(self._positions) < k:
            raise TooFewExamplesError(available=len(self._positions), wanted=k, what="fixed demonstrations")

    def _choose(self, k: int) -> Selection:
        self.require(k)
        return Selection.of(*self._positions[:k])

    def _spares(self, k: int) -> Iterable[tuple[int, float]]:
        return [(position, 0.0) for position in self._positions[k:]]
