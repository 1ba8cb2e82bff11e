"""Which orders of a set are tried, and the memory of the best one of each set.

What makes one order better than another is the caller's business; nothing here asks a language model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Final

import numpy as np

from selector.ordering.base import permuted
from selector.progress import SILENT, Progress
from selector.types import Selection


@dataclass(frozen=True)
class PermutationConfig:
    """Which orders of a set are tried.

    Attributes:
        permutations: How many: all where there are no more (24 of 4 demonstrations), else a sample with the order given
            among them.
        seed: Seeds that sample.
    """

    permutations: int = 24
    seed: int = 0


DEFAULT_PERMUTATIONS: Final = PermutationConfig()


def candidate_orders(length: int, *, limit: int, seed: int) -> list[tuple[int, ...]]:
    """Lists the orders that are tried, the given one first.

    Args:
        length: How many demonstrations there are.
        limit: How many orders at most.
        seed: Seeds the sample where there are more.

    Returns:
        Distinct permutations of range(length).
    """
    given = tuple(range(length))
    if math.factorial(length) <= limit:
        return list(permutations(given))
    rng = np.random.default_rng([seed, length])
    orders = {given: None}
    while len(orders) < limit:
        orders[tuple(int(position) for position in rng.permutation(length))] = None
    return list(orders)


def tried_orders(selection: Selection, config: PermutationConfig) -> list[Selection]:
    """Lists the orders of a selection that are tried, the given one first.

    Args:
        selection: The selection.
        config: Which orders.

    Returns:
        Distinct permutations of the selection.
    """
    positions = candidate_orders(len(selection.indices), limit=config.permutations, seed=config.seed)
    return [permuted(selection, own) for own in positions]


class OrderSearch:
    """Gives every set its best order, searched for once.

    Args:
        choose: From the orders of a set to the position of the best one; not called where there is only one.
        config: Which orders are tried.
        name: What the orders are chosen by, for the progress bar.
        progress: Shows how many sets are done.
    """

    def __init__(
        self,
        choose: Callable[[Sequence[Selection]], int],
        config: PermutationConfig,
        *,
        name: str,
        progress: Progress = SILENT,
    ) -> None:
        self._choose = choose
        self._config = config
        self._name = name
        self._progress = progress
        self._best: dict[tuple[int, ...], tuple[int, ...]] = {}

    def best(self, selections: Sequence[Selection]) -> list[Selection]:
        """Puts each selection into its best order.

        Args:
            selections: N selections; those with the same indices in the same order are searched once.

        Returns:
            N permuted selections.
        """
        new = [indices for indices in dict.fromkeys(own.indices for own in selections) if indices not in self._best]
        with self._progress.track(f"orders by {self._name}", len(new)) as advance:
            for indices in new:
                self._best[indices] = self._best_positions(indices)
                advance(1)
        return [permuted(selection, self._best[selection.indices]) for selection in selections]

    def _best_positions(self, indices: tuple[int, ...]) -> tuple[int, ...]:
        tried = candidate_orders(len(indices), limit=self._config.permutations, seed=self._config.seed)
        if len(tried) == 1:
            return tried[0]
        return tried[self._choose([permuted(Selection.of(*indices), positions) for positions in tried])]
