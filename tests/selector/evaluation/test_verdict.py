"""Tests of the verdict."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from selector.errors import UnknownNameError, UsageError
from selector.evaluation.statistics import paired_bootstrap
from selector.evaluation.verdict import Contender, Cost, verdict_of

few = settings(max_examples=30, deadline=None)
QUERIES = 100


def right_on(count: int, *, start: int = 0) -> np.ndarray:
    """Right on `count` of 100 queries in a row."""
    values = np.zeros(QUERIES)
    values[start : start + count] = 1.0
    return values


def contender(name: str, values: np.ndarray, tokens: float, *, upper_bound: bool = False) -> Contender:
    return Contender(name, values, Cost(answering=tokens), upper_bound)


NEAREST = contender("nearest", right_on(50), 100)
EPR = contender("EPR", right_on(70), 200)
RL = contender("RL", right_on(73), 900)  # three queries more than EPR: p is 1/4 before correction
ORACLE = contender("oracle", right_on(100), 50, upper_bound=True)

names = st.sampled_from(["nearest", "random", "EPR", "RL", "oracle"])
rows = st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=12, max_size=12).map(np.array)


@st.composite
def fields(draw) -> list[Contender]:
    """Methods over 12 queries; "nearest" is among them and no upper bound."""
    others = draw(st.sets(names.filter(lambda name: name != "nearest"), max_size=4))
    return [
        contender(name, draw(rows), draw(st.integers(0, 3)), upper_bound=name == "oracle")
        for name in ["nearest", *sorted(others)]
    ]


def test_the_cheapest_of_the_good_ones_is_named() -> None:
    """Guards against the highest mean at any price, and against the cheapest at any loss."""
    verdict = verdict_of([NEAREST, EPR, RL, ORACLE], baseline="nearest")
    interval = paired_bootstrap(EPR.values, NEAREST.values)
    low, high = 100 * interval.low, 100 * interval.high
    assert verdict.sentence == (
        f"EPR: +20.0 [{low:.1f}, {high:.1f}] points over nearest; RL is not significantly better than EPR; use EPR"
    )
    assert (verdict.recommended, verdict.best, verdict.not_worse) == ("EPR", "RL", ("EPR", "RL"))
    assert verdict.upper_bounds == ("oracle",)
    assert [own.method for own in verdict.standings] == ["RL", "EPR", "nearest"]
    assert (verdict.queries, verdict.alpha) == (QUERIES, 0.05)


def test_p_values_are_corrected_over_methods_without_upper_bounds() -> None:
    """Guards against raw p-values, and an oracle that makes the correction harder for the others.

    EPR and nearest differ on 20 queries, RL and nearest on 23, EPR and RL on 3, all in one direction.
    """
    rl, epr, nearest = verdict_of([NEAREST, EPR, RL, ORACLE], baseline="nearest").standings
    assert rl.versus_baseline.p == pytest.approx(2 * 2 / 2**23)
    assert epr.versus_baseline.p == pytest.approx(2 / 2**20)
    assert epr.versus_best.p == pytest.approx(0.25)
    assert nearest.versus_best.p == rl.versus_baseline.p
    assert (rl.versus_best, nearest.versus_baseline) == (None, None)


def test_the_best_is_named_where_cheaper_ones_are_worse() -> None:
    """Guards against a recommendation of what is significantly worse because it is cheap."""
    far = replace(RL, values=right_on(90))
    verdict = verdict_of([NEAREST, EPR, far], baseline="nearest")
    assert verdict.sentence.endswith("points over nearest; every cheaper method is significantly worse; use RL")
    assert verdict.not_worse == ("RL",)


def test_the_baseline_is_named_where_nothing_is_better() -> None:
    """Guards against praise of a difference of two queries."""
    close = contender("close", right_on(52), 500)
    assert verdict_of([NEAREST, close], baseline="nearest").sentence == (
        "no method is significantly better than nearest; use nearest"
    )
    dear = replace(NEAREST, cost=Cost(answering=900))
    assert verdict_of([dear, close], baseline="nearest").sentence.endswith(
        "points over nearest, not significant; use close"
    )
    assert verdict_of([NEAREST], baseline="nearest").sentence == "nearest is the only method; use nearest"


def test_a_cheap_method_that_is_a_little_worse_does_not_read_as_better() -> None:
    """Guards against "-2.0 points over nearest"."""
    cheap = contender("cheap", right_on(48), 1)
    sentence = verdict_of([NEAREST, cheap], baseline="nearest").sentence
    assert sentence.startswith("cheap: -2.0 [")
    assert sentence.endswith(
        "points against nearest, not significant; nearest is not significantly better than cheap; use cheap"
    )


def test_training_and_selection_count() -> None:
    """Guards against a trained method that looks cheap because its answers are."""
    trained = Contender("trained", right_on(50, start=1), Cost(training=1_000, selection=10, answering=50))
    assert trained.cost.total == 1_060
    assert verdict_of([NEAREST, trained], baseline="nearest").recommended == "nearest"
    free = replace(trained, cost=Cost(answering=50))
    assert verdict_of([NEAREST, free], baseline="nearest").recommended == "trained"


def test_an_unknown_training_is_dearer_than_a_known_one() -> None:
    """Guards against a policy that looks free because its training was killed, and is then the cheapest."""
    known = Contender("known", right_on(70), Cost(training=1_000_000, answering=50))
    lost = Contender("lost", right_on(71), Cost(training=None, answering=50))
    verdict = verdict_of([NEAREST, known, lost], baseline="nearest")
    assert (verdict.recommended, verdict.best, verdict.not_worse) == ("known", "lost", ("known", "lost"))
    assert verdict.sentence.endswith("what training lost cost is unknown; use known")
    alone = verdict_of([NEAREST, lost], baseline="nearest").sentence
    assert alone.endswith("every cheaper method is significantly worse; what training lost cost is unknown; use lost")
    worse = replace(lost, values=right_on(20))
    assert "unknown" not in verdict_of([NEAREST, known, worse], baseline="nearest").sentence


def test_of_equal_costs_the_higher_mean_is_named() -> None:
    """Guards against a tie that the alphabet or the order of methods decides."""
    alike = contender("alike", right_on(52), 100)
    assert verdict_of([NEAREST, alike], baseline="nearest").recommended == "alike"
    assert verdict_of([alike, NEAREST], baseline="nearest").recommended == "alike"


def test_one_pair_has_one_p_value() -> None:
    """Guards against a table that calls the best better than the baseline beside a sentence that denies it.

    Best wins 21 queries from the baseline and loses 9: p is 0.043. Against the baseline it is the greatest of three
    p-values and stays; against the best it is the smallest, and three times that would not be significant.
    """
    nearest, best = contender("nearest", right_on(50), 1), contender("best", right_on(62, start=9), 900)
    others = [contender("a", right_on(60), 800), contender("b", right_on(61), 800)]
    verdict = verdict_of([nearest, best, *others], baseline="nearest")
    standings = {own.method: own for own in verdict.standings}
    assert standings["best"].versus_baseline.p == pytest.approx(binomtest(9, 30).pvalue)
    assert standings["nearest"].versus_best.p == standings["best"].versus_baseline.p
    assert verdict.not_worse == ("b", "a", "best")


def test_a_steady_method_that_beats_the_baseline_is_not_hushed_up() -> None:
    """Guards against "no method is better" where the best one is only too unsteady to say so.

    "steady" wins 10 queries and loses none; "best" wins 40 and loses 29.
    """
    steady = contender("steady", right_on(60), 500)
    best = contender("best", right_on(61, start=29), 900)
    verdict = verdict_of([NEAREST, steady, best], baseline="nearest")
    assert verdict.sentence == (
        "best, the best, is not significantly better than nearest, though steady is; "
        "best is 11.0 points ahead, which 100 queries are too few to trust; use nearest"
    )


@few
@given(fields(), st.randoms(use_true_random=False))
def test_laws_of_the_verdict(field, random) -> None:
    """Guards against a verdict that turns with the order of methods, recommends an oracle, or passes over its rule."""
    verdict = verdict_of(field, baseline="nearest", rounds=200)
    shuffled = list(field)
    random.shuffle(shuffled)
    assert verdict_of(shuffled, baseline="nearest", rounds=200) == verdict
    tokens = {own.method: own.tokens for own in verdict.standings}
    assert {"oracle"}.isdisjoint(tokens)
    assert verdict.best in verdict.not_worse
    assert tokens[verdict.recommended] == min(tokens[name] for name in verdict.not_worse)
    assert verdict.sentence.endswith(f"use {verdict.recommended}")
    means = [own.mean for own in verdict.standings]
    assert means == sorted(means, reverse=True)


@few
@given(fields())
def test_upper_bounds_change_nothing(field) -> None:
    """Guards against an oracle that is the best, and makes every real method significantly worse."""
    real = [own for own in field if not own.upper_bound]
    with_all, without = (verdict_of(own, baseline="nearest", rounds=200) for own in (field, real))
    assert replace(with_all, upper_bounds=()) == without


@pytest.mark.parametrize("baseline", ["random", "oracle"])
def test_the_baseline_must_be_a_real_method(baseline: str) -> None:
    """Guards against points over what nobody ran, or over what nobody can have."""
    with pytest.raises(UnknownNameError, match="nearest"):
        verdict_of([NEAREST, ORACLE], baseline=baseline)


@pytest.mark.parametrize(
    "field",
    [
        [NEAREST, NEAREST],
        [NEAREST, replace(EPR, values=np.ones(3))],
        [replace(NEAREST, values=np.ones(0))],
        [replace(NEAREST, values=np.ones((3, QUERIES)))],
        [replace(NEAREST, cost=Cost(training=-1))],
        [replace(NEAREST, cost=Cost(training=math.nan))],
        [replace(NEAREST, values=np.full(QUERIES, np.nan)), EPR],
    ],
)
def test_what_cannot_be_judged_is_refused(field) -> None:
    """Guards against methods that are averaged, queries that do not match, and costs that sort at random."""
    with pytest.raises(UsageError):
        verdict_of(field, baseline="nearest")


def test_alpha_is_a_chance() -> None:
    """Guards against alpha in percent, which calls everything significant."""
    with pytest.raises(UsageError, match="alpha"):
        verdict_of([NEAREST, EPR], baseline="nearest", alpha=5)
