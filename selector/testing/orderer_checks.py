"""The laws of every orderer, each a function by its name, and `check_orderer`, which checks them all.

Nothing here knows why one order is better than another; `docs/extending.md` says how to write an orderer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Final, TypeAlias, cast

from selector.data.pool import Pool
from selector.errors import LawBrokenError, UsageError
from selector.ordering.base import Orderer
from selector.testing.hostile import hostile_queries, relabelled
from selector.testing.laws import Law, check_laws, first_difference
from selector.testing.planted import planted_pool
from selector.types import Query, Selection

OrdererFactory: TypeAlias = Callable[[Pool], Orderer]
SIZES: Final = (4, 0, 1, 2, 3)  # of the sets that are ordered, in turn


class OrdererTrial:
    """An orderer under examination, and what it has answered so far.

    Args:
        make: A function that makes the orderer for a pool; or an orderer.
        pool: The pool that selections point into, of nine examples or more; that of the orderer where one is given.
        queries: N queries; by default members, disguised members, strangers and texts without words.
        selections: N selections; by default of none to four demonstrations, two alike among them.

    Raises:
        UsageError: When an orderer is given without its pool.
    """

    def __init__(
        self,
        make: OrdererFactory | Orderer,
        *,
        pool: Pool | None = None,
        queries: Sequence[Query] | None = None,
        selections: Sequence[Selection] | None = None,
    ) -> None:
        self._given = make if isinstance(make, Orderer) and not isinstance(make, type) else None
        if self._given is not None and pool is None:
            raise UsageError("an orderer was given without its pool", expected="both", remedy="Pass pool=...")
        self.build: OrdererFactory | None = None if self._given is not None else cast(OrdererFactory, make)
        self.pool = planted_pool() if pool is None else pool
        self.queries = list(hostile_queries(self.pool) if queries is None else queries)
        self.selections = list(self._drawn() if selections is None else selections)

    def _drawn(self) -> list[Selection]:
        sets = []
        for place in range(len(self.queries)):
            size = SIZES[place % len(SIZES)]
            # As a selector leaves them: scores in an order of their own, which the positions do not follow.
            indices = tuple((3 + 5 * at) % 9 for at in range(size))
            sets.append(Selection(indices, tuple(0.1 * index + 0.01 for index in indices)))
        return sets

    @cached_property
    def orderer(self) -> Orderer:
        """The orderer."""
        return self.made()

    @cached_property
    def again(self) -> Orderer:
        """Another one made alike, or the same one where there is no function to make it."""
        return self.made()

    @cached_property
    def answers(self) -> list[Selection]:
        """What the orderer made of the selections."""
        return self.orderer.order(self.queries, self.selections)

    def made(self) -> Orderer:
        """Makes an orderer.

        Returns:
            A new one, or the given one where there is no function to make it.
        """
        return self.build(self.pool) if self.build is not None else cast(Orderer, self._given)


def one_order_for_each_query(trial: OrdererTrial) -> str | None:
    """Queries come in batches, and a list holds one Selection for each of them."""
    found = trial.answers
    wrong = not isinstance(found, list) or any(not isinstance(one, Selection) for one in found)
    if wrong or len(found) != len(trial.queries):
        raise LawBrokenError(
            "one_order_for_each_query",
            found=f"{len(trial.queries)} queries gave {type(found).__name__} {str(found)[:80]}",
            expected="a list with one Selection for each query, in their order",
            remedy="Return [permuted(selection, positions) for selection in selections].",
        )
    return None


def nothing_to_order_gives_nothing(trial: OrdererTrial) -> str | None:
    """No queries give no selections."""
    if (found := trial.orderer.order([], [])) != []:
        raise LawBrokenError(
            "nothing_to_order_gives_nothing",
            found=f"no query gave {found!r}",
            expected="[]",
            remedy="Return early where there is no query.",
        )
    return None


def an_order_is_a_permutation(trial: OrdererTrial) -> str | None:
    """The same demonstrations, none lost, added or shown twice."""
    for before, after in zip(trial.selections, trial.answers, strict=True):
        if sorted(before.indices) != sorted(after.indices):
            raise LawBrokenError(
                "an_order_is_a_permutation",
                found=f"{before.indices} became {after.indices}",
                expected="the same positions in some order",
                remedy="Use selector.ordering.base.permuted, which changes nothing else.",
            )
    return None


def every_score_stays_with_its_index(trial: OrdererTrial) -> str | None:
    """Scores move with the demonstrations that they belong to."""
    for before, after in zip(trial.selections, trial.answers, strict=True):
        own = dict(zip(before.indices, before.scores, strict=True))
        if any(own.get(index, score) != score for index, score in zip(after.indices, after.scores, strict=True)):
            raise LawBrokenError(
                "every_score_stays_with_its_index",
                found=f"{before} became {after}",
                expected="every index with the score that it had",
                remedy="Use selector.ordering.base.permuted, which moves both.",
            )
    return None


def one_demonstration_or_none_stays(trial: OrdererTrial) -> str | None:
    """Sets of none and of one come back as they are, also where a batch holds nothing else."""
    short = [(query, one) for query, one in zip(trial.queries, trial.selections, strict=True) if len(one.indices) < 2]
    queries, selections = [query for query, _ in short], [one for _, one in short]
    if (found := list(trial.orderer.order(queries, selections))) != selections:
        raise LawBrokenError(
            "one_demonstration_or_none_stays",
            found=f"{selections} became {found}",
            expected="the same",
            remedy="Leave sets of fewer than two alone; there is nothing to order.",
        )
    return None


def the_same_set_has_the_same_order(trial: OrdererTrial) -> str | None:
    """Asking again, and asking another orderer made alike, changes nothing."""
    for name, orderer in (("the same orderer", trial.orderer), ("another one made alike", trial.again)):
        found = orderer.order(trial.queries, trial.selections)
        if (place := first_difference(trial.answers, found, tolerance=0.0)) is not None:
            raise LawBrokenError(
                "the_same_set_has_the_same_order",
                found=f"{trial.answers[place].indices} and then, from {name}, {found[place].indices}",
                expected=f"the same for query {trial.queries[place].uid!r}",
                remedy="Make randomness an argument, and seed a generator for every call.",
            )
    return None


def an_order_does_not_depend_on_its_batch(trial: OrdererTrial) -> str | None:
    """Queries asked one by one, from the last to the first, get what they got together."""
    pairs = list(zip(trial.queries, trial.selections, strict=True))
    alone = [trial.again.order([query], [own])[0] for query, own in reversed(pairs)][::-1]
    if (place := first_difference(trial.answers, alone, tolerance=0.0)) is not None:
        raise LawBrokenError(
            "an_order_does_not_depend_on_its_batch",
            found=f"{trial.answers[place].indices} in a batch and {alone[place].indices} alone",
            expected=f"the same for query {trial.queries[place].uid!r}",
            remedy="Let no query see another; what is kept between calls must be kept by what it depends on.",
        )
    return None


def the_gold_label_is_not_read(trial: OrdererTrial) -> str | None:
    """The label of the query that is asked about does not change its order."""
    labels = trial.pool.labels
    for given in ((None,), labels, labels[::-1]):
        found = trial.again.order(relabelled(trial.queries, given), trial.selections)
        if (place := first_difference(trial.answers, found, tolerance=0.0)) is not None:
            raise LawBrokenError(
                "the_gold_label_is_not_read",
                found=f"{trial.answers[place].indices} and, with other labels, {found[place].indices}",
                expected=f"the same for query {trial.queries[place].uid!r}, whatever its label",
                remedy="Judge orders by dev queries or by the model's own uncertainty.",
            )
    return None


ORDERER_LAWS: Final[tuple[Law[OrdererTrial], ...]] = (
    one_order_for_each_query,
    nothing_to_order_gives_nothing,
    an_order_is_a_permutation,
    every_score_stays_with_its_index,
    one_demonstration_or_none_stays,
    the_same_set_has_the_same_order,
    an_order_does_not_depend_on_its_batch,
    the_gold_label_is_not_read,
)


def check_orderer(
    make: OrdererFactory | Orderer,
    *,
    pool: Pool | None = None,
    queries: Sequence[Query] | None = None,
    selections: Sequence[Selection] | None = None,
) -> dict[str, str]:
    """Checks that an orderer keeps the laws of all orderers.

    Args:
        make: A function that makes the orderer for a pool; or an orderer.
        pool: The pool that selections point into, of nine examples or more; by default 24 planted reviews.
        queries: N queries; by default members, disguised members, strangers and texts without words.
        selections: N selections; by default of none to four demonstrations, two alike among them.

    Returns:
        Name to reason of every law that could not be checked.

    Raises:
        LawBrokenError: When it breaks one; the message says which, and how to put it right.
        UsageError: When an orderer is given without its pool.
    """
    return check_laws(ORDERER_LAWS, OrdererTrial(make, pool=pool, queries=queries, selections=selections))
