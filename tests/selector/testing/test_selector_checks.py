"""Tests of the laws of selectors: each is broken by a fake that breaks no other, and says how to put it right."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from selector.data.pool import Pool, normalised_text
from selector.errors import LawBrokenError, UsageError
from selector.strategies.base import require_enough
from selector.strategies.dense import NearestSelector
from selector.strategies.random import RandomSelector
from selector.strategies.zero import ZeroShotSelector
from selector.testing import SELECTOR_LAWS, SelectorPromises, SelectorTrial, ToyEncoder, check_selector, planted_pool
from selector.testing.hostile import disguised, hostile_queries, stranger
from selector.types import Example, Query, Selection

RANKED = SelectorPromises(ranked=True)


class Broken:
    """A good selector; each fake spoils one thing.

    Args:
        pool: The pool.
    """

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.good = NearestSelector(pool, ToyEncoder())

    def select(self, queries: Sequence[Query], k: int) -> Any:
        return [self.spoilt(query, one, k) for query, one in zip(queries, self.good.select(queries, k), strict=True)]

    def spoilt(self, query: Query, selection: Selection, k: int) -> Selection:
        del query, k
        return selection


class GivesATuple(Broken):
    def select(self, queries: Sequence[Query], k: int) -> Any:
        return tuple(super().select(queries, k)) if queries else []


class AnswersNobody(Broken):
    def select(self, queries: Sequence[Query], k: int) -> Any:
        return super().select(queries, k) if queries else [Selection((), ())]


class ShortForWordlessTexts(Broken):
    def spoilt(self, query: Query, selection: Selection, k: int) -> Selection:
        wordless = not any(sign.isalnum() for text in query.fields.values() for sign in text)
        return Selection(selection.indices[1:], selection.scores[1:]) if wordless else selection


class NumbersOfNumpy(Broken):
    def spoilt(self, query: Query, selection: Selection, k: int) -> Selection:
        return Selection(tuple(np.array(selection.indices, dtype=np.int64)), selection.scores)


class BestFirst(Broken):
    def spoilt(self, query: Query, selection: Selection, k: int) -> Selection:
        return Selection(selection.indices[::-1], selection.scores[::-1])


class ForgetsUids(Broken):
    def select(self, queries: Sequence[Query], k: int) -> Any:
        return super().select([replace(query, uid="anybody") for query in queries], k)


class OneSetForAll(Broken):
    def spoilt(self, query: Query, selection: Selection, k: int) -> Selection:
        return selection if len(self.pool) < 20 else Selection.of(*range(10, 10 + k))


class LooksTwoFurther(Broken):
    def select(self, queries: Sequence[Query], k: int) -> Any:
        selections = []
        for query in queries:
            require_enough(self.pool, query, k)
            own = self.pool.duplicates_of(query)
            rows = self.good.query_encoder.encode([" ".join(query.fields.values())])
            _, found = self.good.index.search(rows, min(k + 2, len(self.pool)))
            selections.append(Selection.of(*[int(at) for at in found[0] if int(at) not in own][:k]))
        return selections


class ComparesNormalisedTextsAlone(Broken):
    def __init__(self, pool: Pool) -> None:
        super().__init__(Pool(list(pool)))


class GivesWhatIsLeft(Broken):
    def select(self, queries: Sequence[Query], k: int) -> Any:
        return [
            self.good.select([query], min(k, len(self.pool) - len(self.pool.duplicates_of(query))))[0]
            for query in queries
        ]


class NeverRepeatsItself(Broken):
    def select(self, queries: Sequence[Query], k: int) -> Any:
        asked = (k, tuple((query.uid, query.label) for query in queries))
        seen = self.__dict__.setdefault("seen", set())
        again = asked in seen and len(queries) > 1
        seen.add(asked)
        selections = super().select(queries, k)
        return [Selection(one.indices[::-1], one.scores) for one in selections] if again else selections


class ScoresLessTheMeanOfTheBatch(Broken):
    def select(self, queries: Sequence[Query], k: int) -> Any:
        selections = super().select(queries, k)
        mean = float(np.mean([one.scores for one in selections])) if k and queries else 0.0
        return [Selection(one.indices, tuple(score - mean for score in one.scores)) for one in selections]


class PrefersTheGoldLabel(Broken):
    def spoilt(self, query: Query, selection: Selection, k: int) -> Selection:
        order = sorted(selection.indices, key=lambda index: self.pool[index].label == query.label)
        return Selection(tuple(order), selection.scores)


BROKEN: dict[str, tuple[Callable[[Pool], Broken], SelectorPromises]] = {
    "one_selection_for_each_query": (GivesATuple, RANKED),
    "an_empty_batch_gives_nothing": (AnswersNobody, RANKED),
    "k_demonstrations_are_chosen": (ShortForWordlessTexts, RANKED),
    "positions_are_distinct_and_of_the_pool": (NumbersOfNumpy, RANKED),
    "scores_are_finite_and_rise": (BestFirst, RANKED),
    "the_query_is_never_shown": (ForgetsUids, RANKED),
    "what_one_query_sees_another_may_not": (OneSetForAll, SelectorPromises()),
    "a_family_of_duplicates_is_left_out": (LooksTwoFurther, SelectorPromises()),
    "near_duplicates_are_left_out": (ComparesNormalisedTextsAlone, RANKED),
    "too_few_examples_are_named": (GivesWhatIsLeft, RANKED),
    "the_same_question_has_the_same_answer": (NeverRepeatsItself, SelectorPromises()),
    "an_answer_does_not_depend_on_its_batch": (ScoresLessTheMeanOfTheBatch, RANKED),
    "the_gold_label_is_not_looked_at": (PrefersTheGoldLabel, SelectorPromises()),
}


def broken_laws(make: Callable[[Pool], Any], promises: SelectorPromises) -> set[str]:
    """The laws that a selector breaks, each checked by itself, by the names that the errors give them."""
    found = set()
    for law in SELECTOR_LAWS:
        try:
            law(SelectorTrial(make, promises=promises))
        except LawBrokenError as error:
            found.add(error.law if error.law == law.__name__ else f"{law.__name__}, named {error.law}")
    return found


def test_every_law_has_a_fake_that_breaks_it() -> None:
    """Guards the list of fakes against a law that is added without one."""
    assert list(BROKEN) == [law.__name__ for law in SELECTOR_LAWS]
    assert all(law.__doc__ for law in SELECTOR_LAWS)
    assert broken_laws(Broken, RANKED) == set()


@pytest.mark.parametrize("law", BROKEN)
def test_a_law_catches_what_breaks_it_and_nothing_else(law: str) -> None:
    """Guards against laws that cannot fail, and against failures that name the wrong law."""
    make, promises = BROKEN[law]
    assert broken_laws(make, promises) == {law}
    with pytest.raises(LawBrokenError, match=f"the law '{law}' is broken: .*; expected .*") as caught:
        check_selector(make, promises=promises)
    assert isinstance(caught.value, AssertionError)
    assert f"while the law '{law}' was checked" in caught.value.__notes__


class Drops(Broken):
    """Believes, as EPR's code does, that the first hit is the query."""

    def select(self, queries: Sequence[Query], k: int) -> Any:
        rows = self.good.query_encoder.encode([" ".join(query.fields.values()) for query in queries])
        _, found = self.good.index.search(rows, k + 1)
        return [Selection.of(*map(int, own[1:])) for own in found]


def spoilt(**fields: Any) -> Callable[[Pool], Broken]:
    """A selector whose selections hold what Selection itself would refuse."""

    class Spoilt(Broken):
        def spoilt(self, query: Query, selection: Selection, k: int) -> Selection:
            made = object.__new__(Selection)
            for name in ("indices", "scores"):
                change = fields.get(name, lambda values: values)
                object.__setattr__(made, name, change(getattr(selection, name)))
            return made

    return Spoilt


@pytest.mark.parametrize(
    ("make", "law"),
    [
        (Drops, "a_family_of_duplicates_is_left_out"),
        (spoilt(indices=lambda own: own[:1] * len(own)), "positions_are_distinct_and_of_the_pool"),
        (spoilt(indices=lambda own: tuple(at + 24 for at in own)), "positions_are_distinct_and_of_the_pool"),
        (spoilt(scores=lambda own: tuple(float("nan") for _ in own)), "scores_are_finite_and_rise"),
        (spoilt(scores=lambda own: own[1:]), "scores_are_finite_and_rise"),
    ],
)
def test_other_ways_to_break_a_law(make: Callable[[Pool], Broken], law: str) -> None:
    """Guards the halves of laws: dropping the first hit, a position twice or beyond the pool, scores that are none."""
    named = next(one for one in SELECTOR_LAWS if one.__name__ == law)
    with pytest.raises(LawBrokenError) as caught:
        named(SelectorTrial(make))
    assert caught.value.law == law


@pytest.mark.parametrize("shown", [(), (0,), (7, 9, 11)])
def test_too_few_needs_the_right_numbers(shown: tuple[int, ...]) -> None:
    """Guards against an error of the right kind with numbers that mislead, and against promises that excuse all."""

    class Miscounts(Broken):
        def select(self, queries: Sequence[Query], k: int) -> Any:
            for query in queries:
                require_enough(self.pool, replace(query, uid="x", fields={"text": "zzz"}), k)
            return [Selection.of(*shown[:k]) for _ in queries]

    few = replace(RANKED, exactly_k=False)
    law = next(one for one in SELECTOR_LAWS if one.__name__ == "too_few_examples_are_named")
    with pytest.raises(LawBrokenError, match="demonstrations where 3"):
        law(SelectorTrial(Miscounts, promises=RANKED))
    assert law(SelectorTrial(Miscounts, promises=few)) is None


def test_a_selector_without_a_function_is_checked_as_far_as_it_goes() -> None:
    """Guards finished selectors, whose pool cannot be changed: what is passed over is said, the rest is checked."""
    pool = planted_pool(12)
    passed_over = check_selector(RandomSelector(pool, seed=3), pool=pool)
    assert set(passed_over) == {"a_family_of_duplicates_is_left_out", "near_duplicates_are_left_out"}
    assert all("a function of a pool" in reason for reason in passed_over.values())
    with pytest.raises(LawBrokenError, match="the_query_is_never_shown"):
        check_selector(ForgetsUids(pool), pool=pool)
    with pytest.raises(UsageError, match="without its pool"):
        check_selector(RandomSelector(pool))
    with pytest.raises(UsageError, match="a selector was given"):
        SelectorTrial(RandomSelector(pool), pool=pool).made(planted_pool(5))
    assert check_selector(RandomSelector, queries=[stranger(pool), pool[3]]) == {}


def test_promises_are_taken_at_their_word() -> None:
    """Guards baselines that choose fewer, and upper bounds; without the promise they are caught."""
    fewer = SelectorPromises(exactly_k=False)
    assert check_selector(lambda _: ZeroShotSelector(), promises=fewer) == {}
    with pytest.raises(LawBrokenError, match="k_demonstrations_are_chosen"):
        check_selector(lambda _: ZeroShotSelector())
    bound = SelectorPromises(reads_gold_label=True)
    assert set(check_selector(PrefersTheGoldLabel, promises=bound)) == {"the_gold_label_is_not_looked_at"}


def test_pools_that_a_law_says_nothing_of_are_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards texts without words or too short for near duplicates, and installations without datasketch."""
    signs = Pool(Example(f"{at}", {"t": "!" * (at + 1)}, "ab"[at % 2]) for at in range(6))
    assert set(check_selector(RandomSelector, pool=signs)) == {"a_family_of_duplicates_is_left_out"}
    short = Pool(Example(f"{at}", {"t": "abcdefg"[at]}, "ab"[at % 2]) for at in range(6))
    assert "too short" in check_selector(RandomSelector, pool=short)["near_duplicates_are_left_out"]
    same = Pool(Example(f"{at}", {"t": "word"}, "a") for at in range(6))
    trial = SelectorTrial(RandomSelector, pool=same, queries=[stranger(same)])
    family = next(law for law in SELECTOR_LAWS if law.__name__ == "a_family_of_duplicates_is_left_out")
    assert family(trial) == "all members of the pool are duplicates"
    monkeypatch.setitem(sys.modules, "datasketch", None)
    assert "shotsmith[near-duplicates]" in check_selector(RandomSelector)["near_duplicates_are_left_out"]


def test_a_crash_says_which_law_was_checked() -> None:
    """Guards third parties against a bare ValueError from the depths of their index."""

    class Crashes(Broken):
        def select(self, queries: Sequence[Query], k: int) -> Any:
            return super().select(queries, k) if queries else np.stack([])

    with pytest.raises(ValueError, match="at least one array") as caught:
        check_selector(Crashes)
    assert caught.value.__notes__ == ["while the law 'an_empty_batch_gives_nothing' was checked"]


def test_hostile_queries_are_of_every_kind() -> None:
    """Guards the laws against queries that became harmless."""
    pool = planted_pool()
    queries = hostile_queries(pool)
    by_uid = {one.uid for one in pool}
    texts = {normalised_text(one.fields) for one in pool}
    kinds = {(query.uid in by_uid, normalised_text(query.fields) in texts) for query in queries}
    assert kinds == {(True, True), (False, True), (True, False), (False, False)}
    assert len({query.uid for query in queries}) == len(queries)
    assert {query.label for query in queries} == {"fresh", "rotten", None}
    twin = disguised(pool[0], uid="x")
    assert twin is not None
    assert twin.fields != pool[0].fields
    assert disguised(Example("x", {"text": "?!"}), uid="y") is None
