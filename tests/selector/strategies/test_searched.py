"""Tests of searches within a budget of language-model tokens."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selector.inference.engine import InferenceEngine
from selector.strategies.influence import InfluenceSelector
from selector.strategies.judging import MOST_SETS, SETS_PER_CALL, SetJudge
from selector.strategies.named import SEARCHED_METHODS, build_selector
from selector.strategies.searched import BestOfKSelector, GreedySelector
from selector.testing import ToyEncoder, ToyLanguageModel, planted_examples, planted_pool, planted_template
from selector.types import Example

STRANGER = Example("stranger", {"text": "zzz qqq"})
DEV = planted_examples(4, seed=8, prefix="dev")
KINDS: tuple[Any, ...] = (BestOfKSelector, GreedySelector, InfluenceSelector)


def toy_engine(size: int = 24) -> InferenceEngine:
    return InferenceEngine(ToyLanguageModel(), planted_template(), planted_pool(size))


def spent_by(kind: Any, k: int, *, size: int = 24, **options: Any) -> int:
    """Tokens asked by a search."""
    engine = toy_engine(size)
    [selection] = kind(engine, DEV, **options).select([STRANGER], k)
    assert len(set(selection.indices)) == k
    return engine.lm.usage.tokens


def dearest_set(k: int) -> int:
    """More tokens than any judgement of k demonstrations in these data asks for."""
    engine = toy_engine()
    longest = sorted(range(24), key=lambda at: len(engine.pool[at].fields["text"].split()))[-k:]
    SetJudge(engine, DEV).value_apart(tuple(longest))
    return engine.lm.usage.tokens


@settings(deadline=None, max_examples=25)
@given(st.sampled_from(KINDS), st.integers(1, 3), st.integers(1, 60_000), st.integers(0, 5))
def test_a_search_keeps_within_its_tokens(kind: Any, k: int, tokens: int, seed: int) -> None:
    """Guards comparisons at equal budgets: no search spends more than it was given, but for sets it cannot do without.

    Each of greedy's k steps needs one set; what a set is longer than the dearest before it may be overspent too.
    """
    needed = dearest_set(k) * (k if kind is GreedySelector else 1)
    assert spent_by(kind, k, tokens=tokens, seed=seed) <= max(tokens, 0) + needed


@pytest.mark.parametrize("kind", KINDS)
def test_a_search_uses_its_tokens(kind: Any) -> None:
    """Guards against searches that stop early, which would flatter what was trained at the same price."""
    for tokens in (20_000, 60_000):
        assert spent_by(kind, 2, size=300, tokens=tokens) > tokens * 0.9


@pytest.mark.parametrize("kind", KINDS)
def test_a_budget_too_small_for_one_set_still_judges_one(kind: Any) -> None:
    """Guards against an empty search: something has to be shown."""
    assert spent_by(kind, 1, tokens=1) > 1


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_budget_and_seed_choose_alike(kind: Any) -> None:
    """Guards runs that are resumed, and seeds that do not change a search within a budget."""
    chosen = [kind(toy_engine(), DEV, tokens=9_000, seed=seed).select([STRANGER], 3)[0] for seed in (0, 0, 1, 2, 3)]
    assert chosen[0] == chosen[1]
    assert len({one.indices for one in chosen}) > 1


def test_a_budget_for_eight_sets_draws_the_eight_sets_of_the_plain_search() -> None:
    """Guards against two searches under one name: the budget moves the bound and nothing else."""
    plain = toy_engine()
    [wanted] = BestOfKSelector(plain, DEV, seed=3).select([STRANGER], 2)
    [found] = BestOfKSelector(toy_engine(), DEV, seed=3, tokens=plain.lm.usage.tokens).select([STRANGER], 2)
    assert found == wanted
    few = toy_engine()
    [partition] = InfluenceSelector(few, DEV, rounds=2).select([STRANGER], 2)
    [within] = InfluenceSelector(toy_engine(), DEV, tokens=few.lm.usage.tokens).select([STRANGER], 2)
    assert within.indices == partition.indices


def test_greedy_looks_at_the_whole_pool_when_it_can_pay_for_it() -> None:
    """Guards against a large budget that is spent on the 32 candidates of the plain search."""
    engine = toy_engine(60)
    [selection] = GreedySelector(engine, DEV, tokens=10**7).select([STRANGER], 1)
    values = SetJudge(engine, DEV).values([(at,) for at in range(60)])
    assert values[selection.indices[0]] == max(values)
    assert engine.lm.usage.calls == 2 * 60 * len(DEV) * 2  # the search, and this test's own


def test_greedy_keeps_tokens_for_its_last_step() -> None:
    """Guards against a first step that spends everything, behind which the rest of the set is drawn blindly."""
    counts = []

    class Counting(SetJudge):
        def values_within(self, sets: Any, tokens: int, **options: Any) -> Any:
            judged = super().values_within(sets, tokens, **options)
            counts.append(len(judged))
            return judged

    selector = GreedySelector(toy_engine(), DEV, tokens=30_000)
    selector._judge = Counting(toy_engine(), DEV)
    selector.select([STRANGER], 3)
    assert len(counts) == 3
    assert counts[2] >= counts[0] / 4 > 1


def test_sets_are_valued_as_without_a_budget_and_no_more_are_drawn() -> None:
    """Guards values against calls of several sets, and an endless draw against being drawn to its end."""
    engine = toy_engine()
    judge, heard, drawn = SetJudge(engine, DEV), [], []

    def endless() -> Any:
        while True:
            drawn.append((len(drawn) % 24,))
            yield drawn[-1]

    judged = judge.values_within(endless(), 20_000, advance=heard.append)
    assert sum(heard) == engine.lm.usage.tokens
    assert SETS_PER_CALL < len(judged) == len(drawn)
    assert [value for value, _ in judged] == [pytest.approx(value) for value in judge.values(drawn)]


def test_a_model_that_counts_no_tokens_ends_the_search() -> None:
    """Guards against a search without end behind a server that does not say what it used."""

    class Uncounted(ToyLanguageModel):
        @property
        def usage(self) -> Any:
            return type(super().usage)()

    engine = InferenceEngine(Uncounted(), planted_template(), planted_pool(4))
    judge = SetJudge(engine, DEV[:1])
    judge.values = lambda sets, **_: [(0.0, 0.0)] * len(sets)  # type: ignore[method-assign]
    assert len(judge.values_within(iter([(0,)] * (MOST_SETS + 5)), 10**9)) == MOST_SETS


def test_every_searched_method_takes_a_budget_by_name() -> None:
    """Guards the command line's --budget against a method that drops it."""
    for name in SEARCHED_METHODS:
        asked = []
        for tokens in (None, 3_000):
            engine = toy_engine()
            selector = build_selector(name, engine=engine, encoder=ToyEncoder(), dev=DEV, search_tokens=tokens)
            selector.select([STRANGER], 2)
            asked.append(engine.lm.usage.tokens)
        assert asked[1] < 4_500 < asked[0]
