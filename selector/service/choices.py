"""How demonstrations are to be chosen, and what was chosen, whatever becomes of the pool afterwards."""

from __future__ import annotations

from dataclasses import dataclass

from selector.data.pool import Pool
from selector.types import Example, Selection


@dataclass(frozen=True)
class Shown:
    """Demonstrations as they were when they were chosen, whatever becomes of the pool.

    Attributes:
        examples: In prompt order.
        scores: One for each.
        pool_size: Of the pool that they were chosen from.
    """

    examples: tuple[Example, ...]
    scores: tuple[float, ...]
    pool_size: int

    @classmethod
    def of(cls, pool: Pool, selection: Selection) -> Shown:
        """Looks a selection up.

        Args:
            pool: What it refers to.
            selection: The selection.

        Returns:
            Its examples.
        """
        return cls(tuple(pool[index] for index in selection.indices), selection.scores, len(pool))


@dataclass(frozen=True)
class Recipe:
    """How demonstrations are to be chosen.

    Attributes:
        method: One of the answerer's methods; empty takes the first.
        shots: k.
        orderer: One of its orderers.
    """

    method: str = ""
    shots: int = 4
    orderer: str = "given"
