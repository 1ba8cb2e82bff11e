"""Does the order of demonstrations matter here? Accuracy over the orders of fixed sets, and how much of it is noise.

With finitely many queries two orders differ in accuracy even where order does not matter, so a spread means little
until it is compared with the one that the queries alone would give. `stability_report` is pure arithmetic on right and
wrong answers; `measure_stability` asks the engine for them, in one call.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from selector.errors import TooFewExamplesError, UsageError
from selector.evaluation.statistics import Interval, Values, bootstrap_interval
from selector.inference.engine import InferenceEngine
from selector.ordering.judging import Outcomes, right_answers
from selector.ordering.permutations import DEFAULT_PERMUTATIONS, PermutationConfig, tried_orders
from selector.types import Example, Selection

ROUNDS = 2000
SIGNIFICANT = 0.05


@dataclass(frozen=True)
class SetStability:
    """One set of demonstrations in several orders.

    Attributes:
        orders: P orders, each as pool positions in prompt order.
        accuracies: P accuracies, shares.
        noise: The standard deviation over orders that the queries alone are expected to give; see `sampling_noise`.
    """

    orders: tuple[tuple[int, ...], ...]
    accuracies: tuple[float, ...]
    noise: float

    @property
    def lowest(self) -> float:
        """The accuracy of the worst order."""
        return min(self.accuracies)

    @property
    def mean(self) -> float:
        """The mean accuracy over orders: what an order drawn at random is expected to give."""
        return float(np.mean(self.accuracies))

    @property
    def highest(self) -> float:
        """The accuracy of the best order; chosen by the queries themselves, so it promises too much for others."""
        return max(self.accuracies)

    @property
    def standard_deviation(self) -> float:
        """The sample standard deviation over orders (P - 1 in the denominator)."""
        return float(np.std(self.accuracies, ddof=1))


@dataclass(frozen=True)
class StabilityReport:
    """How much accuracy depends on the order of demonstrations, for one language model and task.

    Attributes:
        sets: One entry for each set.
        queries: N, how many queries each order was judged by.
        spread: The standard deviation over orders, averaged over sets, with its interval over sets.
        noise: What of the spread is expected from N queries alone, averaged in the same way.
        beyond_noise: The standard deviation that is left when the variance of the noise is taken off; 0 where the
            noise is larger.
        p: How often a spread as large comes up where no order is better than another.
    """

    sets: tuple[SetStability, ...]
    queries: int
    spread: Interval
    noise: float
    beyond_noise: float
    p: float

    @property
    def order_matters(self) -> bool:
        """Whether the spread is more than the noise of finite queries, at the level of 5 %."""
        return self.p < SIGNIFICANT

    @property
    def verdict(self) -> str:
        """Says in one sentence whether order matters."""
        opening = (
            "Order matters for this language model and task"
            if self.order_matters
            else f"No effect of order on accuracy shows with {self.queries} queries"
        )
        several = len(self.sets) > 1
        interval = f" (95 % interval {100 * self.spread.low:.1f} to {100 * self.spread.high:.1f})" if several else ""
        over = f"of {len(self.sets)} sets, on average," if several else "of the set"
        return (
            f"{opening}: over the orders {over} the standard deviation of accuracy is "
            f"{100 * self.spread.estimate:.1f} points{interval}, where {self.queries} queries alone would give "
            f"{100 * self.noise:.1f}, which leaves {100 * self.beyond_noise:.1f} to the order (p = {self.p:.2g})."
        )


def sampling_noise(right: Outcomes) -> float:
    """Estimates the variance over orders of accuracy that finite queries give where no order is better than another.

    Each query q is answered rightly behind a share p_q of the orders. Where orders are alike, its answers are so many
    draws of a binomial with p_q, whose variance is estimated by p_q (1 - p_q) P / (P - 1); accuracy is a mean over N
    queries, so its variance is their sum over N squared. This is the denominator of Cochran's Q (1950). A plain
    binomial with the mean accuracy would promise too much noise, because a query that is easy, or hard, behind every
    order adds nothing to the differences between orders.

    Args:
        right: (P, N) whether each query is answered rightly behind each order.

    Returns:
        The variance, shares squared.
    """
    orders, queries = right.shape
    share = right.mean(axis=0)
    return float((share * (1 - share)).sum() * orders / (orders - 1) / queries**2)


def stability_report(
    orders: Sequence[Sequence[Selection]], right: Sequence[Outcomes], *, rounds: int = ROUNDS, seed: int = 0
) -> StabilityReport:
    """Sums up how accuracy varies over the orders of each set.

    The p-value is a bootstrap over queries with the effect of every order on accuracy taken out, as in Efron &
    Tibshirani (1993, chapter 16). All orders of all sets are resampled together, because orders that end alike are
    answered alike, which a chi-squared approximation of Cochran's Q does not know. With many orders and few queries the
    value is on the safe side: too large rather than too small.

    Args:
        orders: For each set its P orders; P may differ between sets.
        right: For each set (P, N) whether each query is answered rightly behind each order.
        rounds: Resamples.
        seed: Seeds them.

    Returns:
        The report.

    Raises:
        TooFewExamplesError: When there is no set, or there are fewer than two queries.
        UsageError: When a set has fewer than two orders.
    """
    _check(orders, right)
    sets = tuple(
        SetStability(
            orders=tuple(order.indices for order in tried),
            accuracies=tuple(map(float, outcomes.mean(axis=1))),
            noise=float(np.sqrt(sampling_noise(outcomes))),
        )
        for tried, outcomes in zip(orders, right, strict=True)
    )
    deviations = np.array([own.standard_deviation for own in sets])
    noise = np.array([own.noise for own in sets])
    return StabilityReport(
        sets=sets,
        queries=right[0].shape[1],
        spread=bootstrap_interval(deviations, seed=seed),
        noise=float(noise.mean()),
        beyond_noise=float(np.sqrt(max(0.0, np.mean(deviations**2 - noise**2)))),
        p=_chance_of_spread(right, rounds=rounds, seed=seed),
    )


def measure_stability(
    engine: InferenceEngine,
    queries: Sequence[Example],
    sets: Sequence[Selection],
    *,
    config: PermutationConfig = DEFAULT_PERMUTATIONS,
) -> StabilityReport:
    """Measures the accuracy of the orders of fixed sets, in one call of the engine.

    Args:
        engine: Answers.
        queries: N labelled queries, none of which duplicates a member of a set.
        sets: The sets, of at least two demonstrations each.
        config: Which orders are tried; its seed also seeds the resamples.

    Returns:
        The report.

    Raises:
        TooFewExamplesError: When there is no set, or there are fewer than two queries.
        UsageError: When a set has fewer than two orders.
        UnknownLabelError: When a query has no label or one that cannot be answered.
    """
    orders = [tried_orders(own, config) for own in sets]
    # Checked with empty outcomes first: a set of one demonstration is to cost no language model.
    _check(orders, [np.zeros((len(tried), len(queries)), dtype=np.bool_) for tried in orders])
    right = right_answers(engine, queries, [order for tried in orders for order in tried])
    parts = np.split(right, np.cumsum([len(tried) for tried in orders])[:-1])
    return stability_report(orders, parts, seed=config.seed)


def _check(orders: Sequence[Sequence[Selection]], right: Sequence[Outcomes]) -> None:
    if not orders:
        raise TooFewExamplesError(available=0, wanted=1, what="sets of demonstrations")
    shapes = [(len(tried), right[0].shape[1]) for tried in orders]
    if [own.shape for own in right] != shapes:
        raise ValueError(f"outcomes of shapes {[own.shape for own in right]} belong to orders of {shapes}")
    if shapes[0][1] < 2:
        raise TooFewExamplesError(available=shapes[0][1], wanted=2, what="labelled queries")
    if fewest := [number for number, (count, _) in enumerate(shapes) if count < 2]:
        raise UsageError(
            f"set {fewest[0]} has one order",
            expected="at least two orders of every set",
            remedy="Give sets of two demonstrations or more, and try two permutations or more.",
        )


def _chance_of_spread(right: Sequence[Outcomes], *, rounds: int, seed: int) -> float:
    """How often resampled queries give a spread as large as the one seen, where every order has the same accuracy."""
    queries = right[0].shape[1]
    # Rows are orders; what is common to the orders of a set, how hard a query is, is taken off.
    effects: Values = np.concatenate([own - own.mean(axis=0) for own in right])
    weights = np.concatenate([np.full(len(own), 1 / (len(own) - 1)) for own in right])
    seen = float(weights @ effects.mean(axis=1) ** 2)
    effects = effects - effects.mean(axis=1, keepdims=True)
    drawn = np.random.default_rng(seed).multinomial(queries, np.full(queries, 1 / queries), size=rounds) / queries
    # Deviations from their own mean are too small by (N - 1) / N.
    resampled = (drawn @ effects.T) ** 2 @ weights * queries / (queries - 1)
    return float(((resampled >= seen - 1e-12).sum() + 1) / (rounds + 1))
