"""Tests of significance tests and of their correction."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selector.errors import UnknownNameError, UsageError
from selector.evaluation.significance import (
    MCNEMAR,
    SIGN_FLIP,
    compared_with,
    holm,
    mcnemar,
    paired_test,
    sign_flip,
)

few = settings(max_examples=40, deadline=None)
shares = st.sampled_from([0.0, 1 / 3, 2 / 3, 1.0])
right_or_wrong = st.sampled_from([0.0, 1.0])
p_values = st.dictionaries(st.text(min_size=1, max_size=3), st.floats(0, 1), max_size=8)


def pairs(values, *, most: int = 12):
    rows = st.lists(st.tuples(values, values), min_size=1, max_size=most)
    return rows.map(lambda rows: np.array(rows).T)


def outcomes_of(wins: int, losses: int, ties: int) -> tuple[np.ndarray, np.ndarray]:
    first = np.array([1.0] * wins + [0.0] * losses + [1.0] * ties)
    return first, np.array([0.0] * wins + [1.0] * losses + [1.0] * ties)


@pytest.mark.parametrize(
    ("wins", "losses", "p"),
    [(5, 0, 2 / 32), (4, 1, 2 * (1 + 5) / 32), (3, 3, 1.0), (1, 0, 1.0), (0, 0, 1.0), (0, 10, 2 / 1024)],
)
def test_mcnemar_counts_queries_that_one_of_the_two_answers(wins: int, losses: int, p: float) -> None:
    """Guards against a one-sided p, one that ties change, and the chi-square form, which is wrong for few queries."""
    result = mcnemar(*outcomes_of(wins, losses, 7))
    assert result.p == pytest.approx(p)
    assert (result.test, result.wins, result.losses, result.ties) == (MCNEMAR, wins, losses, 7)


def test_sign_flip_counts_all_ways_by_hand() -> None:
    """Guards against a p from draws where three differences have eight signs: two of them sum to 4/3 or beyond."""
    first, second = np.array([1.0, 2 / 3, 1.0, 0.5]), np.array([2 / 3, 1 / 3, 1 / 3, 0.5])
    result = sign_flip(first, second)
    assert result.p == pytest.approx(2 / 8)
    assert (result.test, result.wins, result.losses, result.ties) == (SIGN_FLIP, 3, 0, 1)


@few
@given(pairs(shares, most=8))
def test_sign_flip_agrees_with_counting(pair) -> None:
    """Guards against ties of averaged seeds that rounding breaks, which makes p too small."""
    first, second = pair
    thirds = np.round(3 * (first - second)).astype(int)  # whole numbers, which do not round
    sums = [abs(sum(sign * own for sign, own in zip(signs, thirds, strict=True))) for signs in SIGNS[len(thirds)]]
    assert sign_flip(first, second).p == pytest.approx(np.mean(np.array(sums) >= abs(thirds.sum())))


SIGNS = {count: list(product((-1, 1), repeat=count)) for count in range(1, 9)}


@few
@given(pairs(right_or_wrong))
def test_the_two_tests_agree_on_right_and_wrong(pair) -> None:
    """Guards against two tests of one thing that differ: flipping signs of 0/1 outcomes is McNemar's test."""
    assert sign_flip(*pair).p == pytest.approx(mcnemar(*pair).p)


@few
@given(pairs(shares, most=40))
def test_p_is_a_share_and_does_not_turn_with_the_pair(pair) -> None:
    """Guards against a p above 1, of 0, or that depends on which method is named first."""
    first, second = pair
    result, turned = paired_test(first, second, rounds=500), paired_test(second, first, rounds=500)
    assert 0 < result.p <= 1
    assert turned.p == result.p
    assert (turned.wins, turned.losses, turned.ties) == (result.losses, result.wins, result.ties)
    assert paired_test(first, first, rounds=500).p == 1.0


def test_drawn_sign_flips_are_near_the_exact_test_and_repeat() -> None:
    """Guards against draws that do not follow the seed, or a biased p where not all ways can be counted."""
    pair = outcomes_of(34, 16, 100)
    exact, drawn = mcnemar(*pair).p, sign_flip(*pair, rounds=9_999)
    assert drawn == sign_flip(*pair, rounds=9_999)
    assert drawn.p == pytest.approx(exact, abs=0.005)  # about three standard errors
    assert len({sign_flip(*pair, rounds=200, seed=seed).p for seed in range(4)}) > 1


def test_alike_methods_are_called_different_as_often_as_alpha() -> None:
    """Guards against a test that cries wolf: of 400 pairs of alike methods about 5 % may have p of 0.05 or less."""
    rng = np.random.default_rng(5)
    runs = rng.integers(4, size=(400, 2, 40)) / 3
    small = np.mean([sign_flip(first, second, rounds=300).p <= 0.05 for first, second in runs])
    assert 0.02 < small < 0.085  # 0.05 and three standard errors


def test_the_test_follows_the_outcomes() -> None:
    """Guards against McNemar's test on averages over seeds, which it cannot count."""
    first, second = outcomes_of(6, 1, 3)
    assert paired_test(first, second).test == MCNEMAR
    assert paired_test((first + second) / 2, second).test == SIGN_FLIP
    with pytest.raises(UsageError, match="sign_flip"):
        mcnemar((first + second) / 2, second)


@pytest.mark.parametrize("test", [mcnemar, sign_flip, paired_test])
@pytest.mark.parametrize(
    "pair", [(np.ones(2), np.ones(3)), (np.ones(0), np.ones(0)), (np.ones((2, 3)), np.ones((2, 3)))]
)
def test_what_cannot_be_paired_is_refused(test, pair) -> None:
    """Guards against broadcasting, against NaN from no queries, and against seeds that count as queries."""
    with pytest.raises(UsageError, match="shapes"):
        test(*pair)


def test_outcomes_that_are_no_numbers_are_refused() -> None:
    """Guards against NaN that counts as a tie, which hides a broken metric."""
    with pytest.raises(UsageError, match="not finite"):
        paired_test(np.array([np.nan, 1.0]), np.ones(2))


def test_holm_by_hand() -> None:
    """Guards against Bonferroni (all times 4) and against a corrected p below that of a smaller one."""
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005}) == pytest.approx(
        {"a": 0.03, "b": 0.06, "c": 0.06, "d": 0.02}
    )
    assert holm({"a": 0.6, "b": 0.7}) == {"a": 1.0, "b": 1.0}
    assert holm({}) == {}


@few
@given(p_values, st.randoms(use_true_random=False))
def test_laws_of_holm(raw, random) -> None:
    """Guards against a correction that helps, leaves 0 to 1, turns the order, or depends on the order of methods."""
    corrected = holm(raw)
    assert list(corrected) == list(raw)
    assert all(raw[name] <= corrected[name] <= 1 for name in raw)
    in_order = sorted(raw, key=raw.__getitem__)
    assert [corrected[name] for name in in_order] == sorted(corrected.values())
    assert all(corrected[name] == min(1, len(raw) * raw[name]) for name in in_order[:1])
    random.shuffle(in_order)
    assert holm({name: raw[name] for name in in_order}) == corrected


@few
@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_agrees_with_statsmodels(raw) -> None:
    """Guards against an own reading of Holm's paper."""
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    expected = multitest.multipletests(raw, method="holm")[1]
    assert list(holm(dict(enumerate(raw))).values()) == pytest.approx(list(expected))


@few
@given(pairs(right_or_wrong, most=60))
def test_mcnemar_agrees_with_statsmodels(pair) -> None:
    """Guards against an own reading of McNemar's test."""
    tables = pytest.importorskip("statsmodels.stats.contingency_tables")
    first, second = pair.astype(bool)
    table = [[(first & second).sum(), (first & ~second).sum()], [(~first & second).sum(), (~first & ~second).sum()]]
    assert mcnemar(*pair).p == pytest.approx(float(tables.mcnemar(table, exact=True).pvalue))


def test_methods_against_one_baseline() -> None:
    """Guards against corrections over the wrong number, a wrong sign, and a test of the baseline against itself."""
    better, nearest = outcomes_of(10, 0, 10)
    outcomes = {"better": better, "nearest": nearest, "same": nearest.copy()}
    tests = compared_with(outcomes, "nearest")
    assert list(tests) == ["better", "same"]
    assert (tests["better"].delta, tests["same"].delta) == (0.5, 0.0)
    assert tests["better"].test.p == pytest.approx(2 / 1024)
    assert tests["better"].p == pytest.approx(4 / 1024)  # of two comparisons
    assert tests["same"].p == 1.0
    assert tests["better"].significant()
    assert not tests["better"].significant(alpha=0.001)
    turned = compared_with(dict(reversed(outcomes.items())), "nearest")
    assert turned == tests


def test_an_unknown_baseline_is_named() -> None:
    """Guards against a KeyError without the names that exist."""
    with pytest.raises(UnknownNameError, match="nearest"):
        compared_with({"nearest": np.ones(3)}, "random")
