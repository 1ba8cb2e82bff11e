"""Intervals and paired tests over queries. Pure functions of correctness; they know nothing of methods.

Queries are resampled, seeds are not: average each query's outcomes over the seeds first, or, where seeds answered other
queries, say which outcomes belong to one query. An interval then says how far the result holds for other queries of the
kind, with the seeds that were run.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]
ROUNDS = 10_000
Z95 = 1.959963984540054  # the normal quantile of 0.975
CELLS = 2_000_000  # drawn at a time, so that many queries do not fill the memory


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
        The interval; it holds the estimate.

    Raises:
        ValueError: When there are no values.
    """
    return _interval(float(values.mean()), _resampled_means(values, rounds, seed))


def accuracy_interval(values: Values, *, strata: Sequence[Hashable] | None = None) -> Interval:
    """Gives the mean accuracy and its interval: the bootstrap's, and Wilson's (1927) where all answers are alike.

    Resampling answers that are all right gives right answers alone, and an interval without a width.

    Args:
        values: (N,) correctness of each query, 0 to 1; average seeds first.
        strata: (N,) the task of each query where there are several: queries are drawn within each, and all tasks weigh
            the same however many queries they have.

    Returns:
        The interval; it holds the estimate.

    Raises:
        ValueError: When there are no values, or not as many strata.
    """
    if strata is not None:
        _check_belonging(values, strata, "strata")
    if not len(values) or values[0] not in (0, 1) or (values != values[0]).any():
        return bootstrap_interval(values) if strata is None else _stratified(values, strata, ROUNDS, 0)[0]
    beyond = Z95**2 / (len(values) + Z95**2)
    return Interval(1.0, 1 - beyond, 1.0) if values[0] else Interval(0.0, 0.0, beyond)


def paired_bootstrap(
    first: Values,
    second: Values,
    *,
    clusters: Sequence[Hashable] | None = None,
    strata: Sequence[Hashable] | None = None,
    rounds: int = ROUNDS,
    seed: int = 0,
) -> PairedDifference:
    """Compares two methods on the same queries.

    The interval is the percentile bootstrap of the mean difference over queries (Efron & Tibshirani, 1993, chapter 13).
    The p-value shifts the differences to mean zero and is the share of resamples whose mean is at least as far from
    zero, on either side, as the one that was seen (chapter 16), with the sample itself counted as one resample; so the
    smallest is 1 / (rounds + 1) and that of a method against itself is 1. It is not corrected for several methods.

    Args:
        first: (N,) values of one method.
        second: (N,) values of the other, for the same queries in the same order.
        clusters: (N,) the query of each value where one has several, as when seeds share some of their queries: these
            are drawn together (Davison & Hinkley, 1997, section 3.8); None where each value is a query of its own.
        strata: (N,) the task of each value, in place of clusters; see `accuracy_interval`.
        rounds: Resamples.
        seed: Seeds them.

    Returns:
        The difference; its interval holds it.

    Raises:
        ValueError: When the two are not of one length, nor the clusters or strata, or empty.
    """
    if first.shape != second.shape:
        raise ValueError(f"values of different queries are compared: shapes {first.shape} and {second.shape}")
    if clusters is not None and strata is not None:
        raise ValueError("values have clusters and strata: one of the two is counted")
    differences = first - second
    if strata is not None:
        own, means = _stratified(differences, strata, rounds, seed)
    else:
        means = (
            _resampled_means(differences, rounds, seed)
            if clusters is None
            else _resampled_cluster_means(differences, clusters, rounds, seed)
        )
        own = _interval(float(differences.mean()), means)
    # The slack keeps ties that differ by rounding: averages over seeds are not exact in binary.
    as_far = int((np.abs(means - own.estimate) >= abs(own.estimate) - 1e-12).sum())
    return PairedDifference(own.estimate, own.low, own.high, (as_far + 1) / (rounds + 1))


def _check_belonging(values: Values, belonging: Sequence[Hashable], what: str) -> None:
    if len(belonging) != len(values):
        raise ValueError(f"{len(values)} values belong to {len(belonging)} {what}: each needs its own entry")


def _stratified(values: Values, strata: Sequence[Hashable], rounds: int, seed: int) -> tuple[Interval, Values]:
    """The mean over strata, all of one weight, with its interval, and (rounds,) means of each resampled by itself."""
    _check_belonging(values, strata, "strata")
    names = list(dict.fromkeys(strata))
    own = [values[[other == name for other in strata]] for name in names]
    means = np.mean([_resampled_means(part, rounds, seed + at) for at, part in enumerate(own)], axis=0)
    return _interval(float(np.mean([part.mean() for part in own])), means), means


def _interval(estimate: float, means: Values) -> Interval:
    low, high = np.percentile(means, [2.5, 97.5])
    # Where all values are equal, the rounding of the two means may differ in the last bit.
    return Interval(estimate, min(float(low), estimate), max(float(high), estimate))


def _resampled_means(values: Values, rounds: int, seed: int) -> Values:
    """(rounds,) means of values drawn with replacement."""
    count = len(values)
    if not count:
        raise ValueError("no values: there is nothing to resample")
    rng = np.random.default_rng(seed)
    at_once = max(1, CELLS // count)
    parts = [
        values[rng.integers(count, size=(min(at_once, rounds - start), count))].mean(axis=1)
        for start in range(0, rounds, at_once)
    ]
    return np.concatenate(parts)


def _resampled_cluster_means(values: Values, clusters: Sequence[Hashable], rounds: int, seed: int) -> Values:
    """(rounds,) means of the values of clusters drawn with replacement."""
    _check_belonging(values, clusters, "clusters")
    places: dict[Hashable, int] = {}
    number = np.array([places.setdefault(cluster, len(places)) for cluster in clusters])  # (N,)
    sums, counts = np.bincount(number, weights=values), np.bincount(number)  # (C,)
    rng = np.random.default_rng(seed)
    at_once = max(1, CELLS // len(sums))
    parts = []
    for start in range(0, rounds, at_once):
        drawn = rng.integers(len(sums), size=(min(at_once, rounds - start), len(sums)))
        parts.append(sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1))
    return np.concatenate(parts)
