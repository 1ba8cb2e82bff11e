"""A selector under examination: how it is made, what it says of itself, what it is asked and what it answered.

Nothing here judges an answer; that is `selector_checks`' work.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, TypeAlias, cast

from selector.data.pool import Pool
from selector.errors import UsageError
from selector.strategies.base import Selector
from selector.testing.hostile import hostile_queries
from selector.testing.planted import planted_pool
from selector.types import Query, Selection

SelectorFactory: TypeAlias = Callable[[Pool], Selector]
NO_FACTORY: Final = "a selector was given; only a function of a pool, such as its class, makes one for another pool"


@dataclass(frozen=True)
class SelectorPromises:
    """What a selector says of itself, beyond what all of them must keep.

    Attributes:
        shots: The numbers of demonstrations that are asked for.
        exactly_k: Whether it always chooses k; else it may choose fewer.
        ranked: Whether scores rise towards the query, as those of a ranking do.
        reads_gold_label: Whether it looks at the query's label, which only an upper bound may.
        tolerance: By how much scores may differ between batches.
    """

    shots: tuple[int, ...] = (0, 1, 3)
    exactly_k: bool = True
    ranked: bool = False
    reads_gold_label: bool = False
    tolerance: float = 1e-6


class SelectorTrial:
    """A selector under examination, and what it has answered so far.

    Args:
        make: A function that makes the selector for a pool, such as its class; or a selector.
        pool: The pool to choose from, of five examples or more; that of the selector where one is given.
        queries: What is asked; by default members, disguised members, strangers and texts without words.
        promises: What it says of itself.

    Raises:
        UsageError: When a selector is given without its pool.
    """

    def __init__(
        self,
        make: SelectorFactory | Selector,
        *,
        pool: Pool | None = None,
        queries: Sequence[Query] | None = None,
        promises: SelectorPromises | None = None,
    ) -> None:
        made = make if isinstance(make, Selector) and not isinstance(make, type) else None
        if made is not None and pool is None:
            raise UsageError("a selector was given without its pool", expected="both", remedy="Pass pool=...")
        self.build: SelectorFactory | None = None if made is not None else cast(SelectorFactory, make)
        self.pool = planted_pool() if pool is None else pool
        self.queries = list(hostile_queries(self.pool) if queries is None else queries)
        self.promises = promises or SelectorPromises()
        self._given = made
        self._answers: dict[int, list[Selection]] = {}

    @cached_property
    def selector(self) -> Selector:
        """The selector over the pool."""
        return self.made()

    @cached_property
    def again(self) -> Selector:
        """Another one over the same pool, or the same one where there is no function to make it."""
        return self.made()

    def made(self, pool: Pool | None = None) -> Selector:
        """Makes a selector.

        Args:
            pool: The pool to choose from; that of the trial when None.

        Returns:
            A new one, or the given one where there is no function to make it.

        Raises:
            UsageError: When another pool is asked of a selector that was given.
        """
        if self.build is not None:
            return self.build(self.pool if pool is None else pool)
        if self._given is None or pool is not None:
            raise UsageError(NO_FACTORY, expected="a function", remedy="Pass one to check_selector.")
        return self._given

    def answers(self, k: int) -> list[Selection]:
        """What the selector chose for the queries.

        Args:
            k: How many demonstrations were asked for.

        Returns:
            One selection for each query; the selector is asked once.
        """
        if k not in self._answers:
            self._answers[k] = self.selector.select(self.queries, k)
        return self._answers[k]

    def first_that(self, fails: Callable[[Query, Selection, int], bool]) -> tuple[Query, Selection, int] | None:
        """Finds an answer that breaks a law.

        Args:
            fails: Tells of a query, its selection and k whether they break it.

        Returns:
            The first of them; None when there is none.
        """
        for k in self.promises.shots:
            for query, selection in zip(self.queries, self.answers(k), strict=True):
                if fails(query, selection, k):
                    return query, selection, k
        return None
