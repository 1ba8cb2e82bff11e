"""Tests of the laws of orderers: each is broken by a fake that breaks no other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from selector.data.pool import Pool
from selector.errors import LawBrokenError, UsageError
from selector.ordering.base import permuted
from selector.ordering.similarity import ReverseOrder
from selector.testing import ORDERER_LAWS, OrdererTrial, check_orderer, planted_pool
from selector.types import Query, Selection


class Broken:
    """Sorts by score; each fake spoils one thing.

    Args:
        pool: The pool.
    """

    def __init__(self, pool: Pool) -> None:
        self.pool = pool

    def order(self, queries: Sequence[Query], selections: Sequence[Selection]) -> Any:
        return [self.ordered(query, own) for query, own in zip(queries, selections, strict=True)]

    def ordered(self, query: Query, selection: Selection) -> Selection:
        del query
        return permuted(selection, sorted(range(len(selection.indices)), key=lambda at: selection.scores[at]))


class GivesATuple(Broken):
    def order(self, queries: Sequence[Query], selections: Sequence[Selection]) -> Any:
        return tuple(super().order(queries, selections)) if queries else []


class AnswersNobody(Broken):
    def order(self, queries: Sequence[Query], selections: Sequence[Selection]) -> Any:
        return super().order(queries, selections) or [Selection((), ())]


class LosesTheFirst(Broken):
    def ordered(self, query: Query, selection: Selection) -> Selection:
        found = super().ordered(query, selection)
        return found if len(found.indices) < 3 else Selection(found.indices[1:], found.scores[1:])


class LeavesScoresBehind(Broken):
    def ordered(self, query: Query, selection: Selection) -> Selection:
        return Selection(selection.indices[::-1], selection.scores)


class DropsWhatNeedsNoOrder(Broken):
    def order(self, queries: Sequence[Query], selections: Sequence[Selection]) -> Any:
        if len(queries) > 1 and max(len(one.indices) for one in selections) < 2:
            return []
        return super().order(queries, selections)


class NeverRepeatsItself(Broken):
    def order(self, queries: Sequence[Query], selections: Sequence[Selection]) -> Any:
        asked = tuple((query.uid, query.label) for query in queries)
        seen = self.__dict__.setdefault("seen", set())
        again = asked in seen and len(queries) > 1
        seen.add(asked)
        found = super().order(queries, selections)
        return [permuted(one, range(len(one.indices))[::-1]) for one in found] if again else found


class TurnsEverySecond(Broken):
    def order(self, queries: Sequence[Query], selections: Sequence[Selection]) -> Any:
        found = super().order(queries, selections)
        return [permuted(one, range(len(one.indices))[::-1]) if place % 2 else one for place, one in enumerate(found)]


class TurnsForOneLabel(Broken):
    def ordered(self, query: Query, selection: Selection) -> Selection:
        found = super().ordered(query, selection)
        return permuted(found, range(len(found.indices))[::-1]) if query.label == self.pool.labels[0] else found


BROKEN: dict[str, Callable[[Pool], Broken]] = {
    "one_order_for_each_query": GivesATuple,
    "nothing_to_order_gives_nothing": AnswersNobody,
    "an_order_is_a_permutation": LosesTheFirst,
    "every_score_stays_with_its_index": LeavesScoresBehind,
    "one_demonstration_or_none_stays": DropsWhatNeedsNoOrder,
    "the_same_set_has_the_same_order": NeverRepeatsItself,
    "an_order_does_not_depend_on_its_batch": TurnsEverySecond,
    "the_gold_label_is_not_read": TurnsForOneLabel,
}


def broken_laws(make: Callable[[Pool], Any]) -> set[str]:
    found = set()
    for law in ORDERER_LAWS:
        try:
            law(OrdererTrial(make))
        except LawBrokenError as error:
            found.add(error.law if error.law == law.__name__ else f"{law.__name__}, named {error.law}")
    return found


def test_every_law_has_a_fake_that_breaks_it() -> None:
    """Guards the list of fakes against a law that is added without one."""
    assert list(BROKEN) == [law.__name__ for law in ORDERER_LAWS]
    assert all(law.__doc__ for law in ORDERER_LAWS)
    assert broken_laws(Broken) == set()


@pytest.mark.parametrize("law", BROKEN)
def test_a_law_catches_what_breaks_it_and_nothing_else(law: str) -> None:
    """Guards against laws that cannot fail, and against failures that name the wrong law."""
    assert broken_laws(BROKEN[law]) == {law}
    with pytest.raises(LawBrokenError, match=f"the law '{law}' is broken: .*; expected .*"):
        check_orderer(BROKEN[law])


def test_an_orderer_may_be_given_with_its_pool() -> None:
    """Guards finished orderers, and the pool that their selections point into."""
    pool = planted_pool(9)
    assert check_orderer(ReverseOrder(), pool=pool) == {}
    assert check_orderer(lambda _: ReverseOrder()) == {}
    with pytest.raises(LawBrokenError, match="an_order_is_a_permutation"):
        check_orderer(LosesTheFirst(pool), pool=pool)
    with pytest.raises(UsageError, match="without its pool"):
        check_orderer(ReverseOrder())


def test_what_is_ordered_has_every_size() -> None:
    """Guards the laws against sets that no order changes."""
    trial = OrdererTrial(Broken)
    assert {len(one.indices) for one in trial.selections} == {0, 1, 2, 3, 4}
    assert trial.answers != trial.selections
