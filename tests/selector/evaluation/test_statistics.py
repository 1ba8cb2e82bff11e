"""Tests of statistics."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from selector.evaluation import statistics
from selector.evaluation.statistics import accuracy_interval, bootstrap_interval, paired_bootstrap

few = settings(max_examples=40, deadline=None)
shares = st.sampled_from([0.0, 1 / 3, 2 / 3, 1.0])
outcomes = st.lists(shares, min_size=1, max_size=60).map(np.array)
pairs = st.lists(st.tuples(shares, shares), min_size=1, max_size=60).map(lambda rows: np.array(rows).T)


@few
@given(outcomes)
def test_a_method_does_not_differ_from_itself(values) -> None:
    """Guards against a difference, or a p below 1, out of nothing."""
    result = paired_bootstrap(values, values, rounds=200)
    assert (result.delta, result.low, result.high, result.p) == (0.0, 0.0, 0.0, 1.0)


@few
@given(pairs)
def test_interval_holds_the_difference_and_turns_with_it(pair) -> None:
    """Guards against a wrong sign, and an interval that rounding pushes off its own estimate."""
    first, second = pair
    result, turned = paired_bootstrap(first, second, rounds=300), paired_bootstrap(second, first, rounds=300)
    assert result.low <= result.delta <= result.high
    assert result.delta == pytest.approx(first.mean() - second.mean())
    assert turned.delta == pytest.approx(-result.delta)
    assert turned.low == pytest.approx(-result.high)
    assert turned.p == result.p
    assert 0 < result.p <= 1


@few
@given(outcomes)
def test_interval_lies_in_the_range_of_the_values(values) -> None:
    """Guards against accuracies below 0 or above 1, as a normal approximation gives them."""
    own = bootstrap_interval(values, rounds=300)
    assert values.min() - 1e-12 <= own.low <= own.estimate <= own.high <= values.max() + 1e-12


def test_one_better_answer_everywhere_is_significant() -> None:
    """Guards against a p that cannot become small; the smallest is 1 / (rounds + 1)."""
    first, second = np.ones(50), np.zeros(50)
    second[:5] = 1
    result = paired_bootstrap(first, second, rounds=999)
    assert result.delta == pytest.approx(0.9)
    assert result.low > 0.7
    assert result.p == pytest.approx(1 / 1000)


def test_p_is_near_the_exact_sign_test() -> None:
    """Guards against a one-sided p: 16 queries won and 4 lost give 0.012 two-sided by the sign test."""
    first = np.array([1.0] * 16 + [0.0] * 4 + [1.0] * 30)
    result = paired_bootstrap(first, np.array([0.0] * 16 + [1.0] * 4 + [1.0] * 30))
    assert 0.002 < result.p < 0.02


def test_pairing_narrows_the_interval() -> None:
    """Guards against resampling the two methods apart, which forgets that hard queries are hard for both."""
    rng = np.random.default_rng(0)
    second = (rng.random(200) < 0.5).astype(float)
    first = second.copy()
    first[np.flatnonzero(second == 0)[:8]] = 1.0
    result = paired_bootstrap(first, second)
    assert result.low > 0
    assert bootstrap_interval(first).low < bootstrap_interval(second).high


def test_same_seed_same_numbers_in_parts_or_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards against results that change from run to run, or with the memory that is used at once."""
    values = (np.random.default_rng(1).random(37) < 0.7).astype(float)
    whole = bootstrap_interval(values, rounds=500, seed=4)
    assert bootstrap_interval(values, rounds=500, seed=4) == whole
    monkeypatch.setattr(statistics, "CELLS", 100)
    assert bootstrap_interval(values, rounds=500, seed=4) == whole
    assert len({bootstrap_interval(np.arange(37.0), rounds=500, seed=seed).low for seed in range(4)}) > 1


def test_95_percent_intervals_cover_about_95_percent() -> None:
    """Guards against 90 or 99 % intervals. 400 draws of 100 queries: fewer than 90 or more than 98 % is 4 sigma off."""
    rng = np.random.default_rng(2)
    held = 0
    for draw in range(400):
        own = bootstrap_interval((rng.random(100) < 0.6).astype(float), rounds=400, seed=draw)
        held += own.low <= 0.6 <= own.high
    assert 0.90 < held / 400 < 0.98


@pytest.mark.parametrize("count", [1, 20, 300])
def test_answers_that_are_all_alike_have_an_interval(count: int) -> None:
    """Guards against 100 % that looks certain; the ends are those of scipy's Wilson interval."""
    for value in (0.0, 1.0):
        exact = binomtest(int(value * count), count).proportion_ci(method="wilson")
        own = accuracy_interval(np.full(count, value))
        assert (own.estimate, own.low, own.high) == pytest.approx((value, exact.low, exact.high))
    mixed = np.array([0.5] * count)
    assert accuracy_interval(mixed) == bootstrap_interval(mixed)


@pytest.mark.parametrize("pair", [(np.ones(2), np.ones(3)), (np.ones(0), np.ones(0))])
def test_what_cannot_be_paired_is_refused(pair) -> None:
    """Guards against numpy broadcasting one method over the other, and against NaN from no queries."""
    with pytest.raises(ValueError, match=r"different queries|no values"):
        paired_bootstrap(*pair)


def test_queries_that_seeds_share_are_drawn_together() -> None:
    """Guards an interval that shrinks because the same queries were asked again."""
    rng = np.random.default_rng(0)
    first, second = rng.integers(2, size=80).astype(float), rng.integers(2, size=80).astype(float)
    once = paired_bootstrap(first, second)
    uids = list(range(80))
    twice = paired_bootstrap(np.tile(first, 2), np.tile(second, 2), clusters=uids * 2)
    assert (twice.delta, twice.low, twice.high) == pytest.approx((once.delta, once.low, once.high))
    naive = paired_bootstrap(np.tile(first, 2), np.tile(second, 2))
    assert naive.high - naive.low < 0.8 * (twice.high - twice.low)
    apart = paired_bootstrap(first, second, clusters=uids)
    assert (apart.low, apart.high, apart.p) == pytest.approx((once.low, once.high, once.p))
    with pytest.raises(ValueError, match="clusters"):
        paired_bootstrap(first, second, clusters=uids[:-1])


def test_strata_weigh_alike_and_are_drawn_apart() -> None:
    """Guards means over tasks of unlike size: their intervals left 100 %, or came of mixing the tasks."""
    values, tasks = np.array([1.0] * 10 + [0.0] * 100), ["few"] * 10 + ["many"] * 100
    own = accuracy_interval(values, strata=tasks)
    assert (own.estimate, own.low, own.high) == (0.5, 0.5, 0.5)
    assert accuracy_interval(np.ones(110), strata=tasks) == accuracy_interval(np.ones(110))
    halves = np.array(([1.0, 0.0] * 5) + ([1.0, 0.0] * 50))
    found = paired_bootstrap(halves, np.zeros(110), strata=tasks, rounds=2000)
    assert found.delta == 0.5
    # The standard error of a mean of two means, of 10 and of 100 queries.
    assert found.high - found.low == pytest.approx(2 * 1.96 * 0.5 * np.hypot(1 / 10**0.5, 0.1) / 2, rel=0.1)
    with pytest.raises(ValueError, match="strata"):
        accuracy_interval(halves, strata=["one"])
