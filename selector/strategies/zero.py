"""No demonstrations at all: the zero-shot baseline."""

from __future__ import annotations

from collections.abc import Sequence

from selector.types import Query, Selection


class ZeroShotSelector:
    """Chooses nothing, whatever k is."""

    def select(self, queries: Sequence[Query], k: int) -> list[Selection]:
        """Gives empty selections; see `Selector.select`."""
        del k
        return [Selection((), ()) for _ in queries]
