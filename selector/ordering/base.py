"""The contract of an orderer: it permutes a selection and changes nothing else.

The last index of a selection stands next to the query. Nothing here knows why one order is better than another.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from selector.types import Query, Selection


@runtime_checkable
class Orderer(Protocol):
    """Puts the chosen demonstrations into prompt order."""

    def order(self, queries: Sequence[Query], selections: Sequence[Selection]) -> list[Selection]:
        """Orders the demonstrations of each query.

        Args:
            queries: N queries.
            selections: N selections.

        Returns:
            N selections, each a permutation of the one given; every score stays with its index.
        """
        ...


def permuted(selection: Selection, positions: Sequence[int]) -> Selection:
    """Reorders a selection, keeping every score with its index.

    Args:
        selection: The selection.
        positions: A permutation of range(len(selection.indices)): which element comes first, second, ...

    Returns:
        The permuted selection.
    """
    return Selection(
        indices=tuple(selection.indices[position] for position in positions),
        scores=tuple(selection.scores[position] for position in positions),
    )
