"""Tests of whether methods differ on the same queries, and their correction for several methods.

Pure functions of correctness. They know neither intervals (see statistics) nor how a method came to its answers.
Queries are the units, seeds are not: average each query's outcomes over the seeds first. McNemar's test is for
outcomes of 0 and 1; the sign-flip test takes any, and agrees with McNemar's on 0 and 1 as far as it is exact.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from selector.errors import UnknownNameError, UsageError
from selector.evaluation.statistics import CELLS, ROUNDS, Values

MCNEMAR: Final = "McNemar, exact"
SIGN_FLIP: Final = "paired permutation"
SLACK: Final = 1e-9
"""Averages over seeds that are this close are a tie: they are not exact in binary."""


@dataclass(frozen=True)
class PairedTest:
    """A two-sided test of whether two methods are alike on the same queries.

    Attributes:
        test: Its name.
        wins: Queries that the first method answers better.
        losses: Queries that the second method answers better.
        ties: All others.
        p: How often a difference at least as large comes up when the two are alike.
    """

    test: str
    wins: int
    losses: int
    ties: int
    p: float


@dataclass(frozen=True)
class CorrectedTest:
    """A method against the baseline, as one of several methods.

    Attributes:
        method: The method; the first of the pair.
        baseline: The second of the pair.
        delta: Mean difference; positive when the method is better.
        test: The test of this pair alone.
        p: Its p-value after Holm's correction.
    """

    method: str
    baseline: str
    delta: float
    test: PairedTest
    p: float

    def significant(self, alpha: float = 0.05) -> bool:
        """Tells whether the two differ.

        Args:
            alpha: The chance, at most, that any of the compared methods is called different though it is not.

        Returns:
            Whether the corrected p-value is at most alpha.
        """
        return self.p <= alpha


def mcnemar(first: Values, second: Values) -> PairedTest:
    """Tests two methods whose outcomes are right or wrong (McNemar, 1947; exact binomial form).

    Only queries that one of the two answers rightly count: when the two are alike, either is the one with chance 1/2.

    Args:
        first: (N,) outcomes of one method, 0 or 1.
        second: (N,) outcomes of the other, for the same queries in the same order.

    Returns:
        The test; p is 1 where the two are right on the same queries.

    Raises:
        UsageError: When the two are not of one length, empty, or not all 0 or 1.
    """
    wins, losses, ties = _counts(_differences(first, second))
    if not (_binary(first) and _binary(second)):
        raise UsageError(
            "some outcomes are neither 0 nor 1",
            expected="right or wrong for each query, as McNemar's test counts them",
            remedy="Use sign_flip, which takes outcomes that are averages over seeds.",
        )
    return PairedTest(MCNEMAR, wins, losses, ties, _binomial(wins, losses))


def sign_flip(first: Values, second: Values, *, rounds: int = ROUNDS, seed: int = 0) -> PairedTest:
    """Tests two methods by swapping their outcomes on each query (Fisher, 1935; Noreen, 1989).

    When the two are alike, either could have given either outcome of a query, so every difference keeps or changes its
    sign with chance 1/2. All ways are counted where there are no more than `rounds` of them; else that many are drawn
    and the sample itself is counted as one more, so that the smallest p is 2 / (rounds + 1).

    Args:
        first: (N,) values of one method; average seeds first.
        second: (N,) values of the other, for the same queries in the same order.
        rounds: Swaps that are counted at most.
        seed: Seeds them.

    Returns:
        The test; p is 1 where the two do not differ.

    Raises:
        UsageError: When the two are not of one length, or empty.
    """
    from scipy.stats import permutation_test

    differences = _differences(first, second)
    wins, losses, ties = _counts(differences)
    # A tie has no sign to flip. Without ties, small differences can be counted in full.
    moving = differences[differences != 0]
    if len(moving) < 2:  # what scipy refuses: either sign of one difference is as far from zero
        return PairedTest(SIGN_FLIP, wins, losses, ties, 1.0)
    result = permutation_test(
        (moving,),
        # Sums that rounding sets apart would not count as equally far.
        lambda signed, axis: np.round(signed.sum(axis=axis), 9),
        permutation_type="samples",
        vectorized=True,
        n_resamples=rounds,
        batch=max(1, CELLS // len(moving)),
        rng=seed,
    )
    return PairedTest(SIGN_FLIP, wins, losses, ties, float(result.pvalue))


def paired_test(first: Values, second: Values, *, rounds: int = ROUNDS, seed: int = 0) -> PairedTest:
    """Tests two methods with McNemar's test where all outcomes are 0 or 1, and by sign flips elsewhere.

    Args:
        first: (N,) values of one method; average seeds first.
        second: (N,) values of the other, for the same queries in the same order.
        rounds: Swaps that sign flips count at most.
        seed: Seeds them.

    Returns:
        The test; p is 1 where the two do not differ.

    Raises:
        UsageError: When the two are not of one length, or empty.
    """
    if _binary(first) and _binary(second):
        return mcnemar(first, second)
    return sign_flip(first, second, rounds=rounds, seed=seed)


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Corrects p-values for the number of comparisons (Holm, 1979).

    The k-th smallest of m is multiplied by m - k + 1, and is never less than a smaller one. The chance that any method
    is called different though all are alike then stays below alpha, whatever the dependence between the methods.

    Args:
        p_values: Comparison to its p-value.

    Returns:
        Comparison to corrected p-value, at most 1, in the order given.

    Raises:
        UsageError: When a p-value is not from 0 to 1.
    """
    if wrong := {name: p for name, p in p_values.items() if not 0 <= p <= 1}:
        name, p = next(iter(wrong.items()))
        raise UsageError(f"{name!r} has the p-value {p}", expected="a number from 0 to 1", remedy="Correct the test.")
    corrected, least = {}, 0.0
    for rank, name in enumerate(sorted(p_values, key=p_values.__getitem__)):
        least = max(least, min(1.0, (len(p_values) - rank) * p_values[name]))
        corrected[name] = least
    return {name: corrected[name] for name in p_values}


def compared_with(
    outcomes: Mapping[str, Values], baseline: str, *, rounds: int = ROUNDS, seed: int = 0
) -> dict[str, CorrectedTest]:
    """Tests every method against one baseline and corrects for their number.

    Args:
        outcomes: Method to (N,) values for the same queries in the same order; average seeds first.
        baseline: The method that the others are compared with.
        rounds: Swaps that sign flips count at most.
        seed: Seeds them.

    Returns:
        Method to test, without the baseline, in the order given.

    Raises:
        UnknownNameError: When the baseline is not among the methods.
        UsageError: When the values are not of one length, or empty.
    """
    if baseline not in outcomes:
        raise UnknownNameError("baseline", baseline, known=list(outcomes))
    against = outcomes[baseline]
    tests = {
        name: paired_test(own, against, rounds=rounds, seed=seed) for name, own in outcomes.items() if name != baseline
    }
    corrected = holm({name: test.p for name, test in tests.items()})
    return {
        name: CorrectedTest(name, baseline, float(np.mean(outcomes[name] - against)), test, corrected[name])
        for name, test in tests.items()
    }


def _differences(first: Values, second: Values) -> Values:
    if first.ndim != 1 or first.shape != second.shape or not first.size:
        raise UsageError(
            f"outcomes of shapes {first.shape} and {second.shape} are compared",
            expected="one value for each query from both methods, for at least one query",
            remedy="Let both answer the same queries, and average seeds first.",
        )
    differences = np.asarray(first, dtype=np.float64) - second
    if not np.isfinite(differences).all():
        raise UsageError("some outcomes are not finite", expected="numbers", remedy="Correct the metric.")
    differences[np.abs(differences) < SLACK] = 0.0
    return differences


def _counts(differences: Values) -> tuple[int, int, int]:
    wins, losses = int((differences > 0).sum()), int((differences < 0).sum())
    return wins, losses, len(differences) - wins - losses


def _binary(values: Values) -> bool:
    return bool(np.isin(values, (0.0, 1.0)).all())


def _binomial(wins: int, losses: int) -> float:
    from scipy.stats import binomtest

    # No query sets the two apart: scipy knows no test of nothing.
    return float(binomtest(wins, wins + losses, 0.5).pvalue) if wins + losses else 1.0
