"""Intervals and paired tests over queries. Pure functions of correctness; they know nothing of methods."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]
ROUNDS = 10_000


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95 % interval.

    Attributes:
        estimate: The mean.
        low: The lower end.
        high: The upper end.
    """

    estimate: float
    low: float
    high: float


@dataclass(frozen=True)
class PairedDifference:
    """How much better one method is than another on the same queries.

    Attributes:
        delta: Mean difference; positive when the first is better.
        low: Lower end of its 95 % interval.
        high: Upper end of its 95 % interval.
        p: Two-sided: how often a difference as large comes up when the two are alike.
    """

    delta: float
    low: float
    high: float
    p: float


def bootstrap_interval(values: Values, *, rounds: int = ROUNDS, seed: int = 0) -> Interval:
    """Gives the mean and its percentile bootstrap interval (Efron & Tibshirani, 1993, chapter 13).

    Args:
        values: (N,) one value for each query; average seeds first.
        rounds: Resamples.
        seed: Seeds them.

    Returns:
        The interval.
    """
    means = values[_resamples(len(values), rounds, seed)].mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return Interval(float(values.mean()), float(low), float(high))


def paired_bootstrap(first: Values, second: Values, *, rounds: int = ROUNDS, seed: int = 0) -> PairedDifference:
    """Compares two methods on the same queries.

    The interval is the percentile bootstrap of the mean difference over queries. The p-value shifts the differences to
    mean zero and counts resamples at least as far from zero as what was seen (Efron & Tibshirani, 1993, chapter 16).

    Args:
        first: (N,) values of one method.
        second: (N,) values of the other, for the same queries in the same order.
        rounds: Resamples.
        seed: Seeds them.

    Returns:
        The difference.

    Raises:
        ValueError: When the two are not of one length.
    """
    if first.shape != second.shape:
        raise ValueError(f"values of different queries are compared: shapes {first.shape} and {second.shape}")
    differences = first - second
    delta = float(differences.mean())
    means = differences[_resamples(len(differences), rounds, seed)].mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    as_far = int((np.abs(means - delta) >= abs(delta) - 1e-12).sum())
    return PairedDifference(delta, float(low), float(high), (as_far + 1) / (rounds + 1))


def _resamples(count: int, rounds: int, seed: int) -> npt.NDArray[np.int64]:
    """(rounds, count) positions drawn with replacement."""
    return np.random.default_rng(seed).integers(count, size=(rounds, count))
