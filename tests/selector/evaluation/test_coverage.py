"""A simulation: the 95 % interval of a paired difference covers the true one in about 95 % of experiments.

The truth is known because the outcomes are drawn here, from joint chances of two methods on one query. Whole
experiments are drawn at once; each is then handed to the function that comparisons use.
"""

from __future__ import annotations

import numpy as np
import pytest

from selector.evaluation.statistics import Values, paired_bootstrap

EXPERIMENTS = 1_000
QUERIES = 150
ROUNDS = 1_000
# Chances that both are right, only the first, only the second, none.
SAME_HARD_QUERIES = (0.60, 0.12, 0.05, 0.23)
UNRELATED = (0.42, 0.28, 0.18, 0.12)
NO_DIFFERENCE = (0.50, 0.15, 0.15, 0.20)


def coverage(first: Values, second: Values, truth: float) -> float:
    """Gives the share of experiments, the rows, whose interval holds the truth."""
    results = [
        paired_bootstrap(*pair, rounds=ROUNDS, seed=seed) for seed, pair in enumerate(zip(first, second, strict=True))
    ]
    return float(np.mean([result.low <= truth <= result.high for result in results]))


@pytest.mark.parametrize("chances", [SAME_HARD_QUERIES, UNRELATED, NO_DIFFERENCE])
def test_interval_covers_the_difference_of_right_and_wrong(chances: tuple[float, ...]) -> None:
    """Guards against intervals of 90 or 99 %, and against a width that forgets how far two methods fail together.

    Of 1,000 experiments, 93 to 97 % is 95 % and three standard errors of the simulation.
    """
    kinds = np.random.default_rng(7).choice(4, p=chances, size=(EXPERIMENTS, QUERIES))
    first, second = np.isin(kinds, (0, 1)).astype(float), np.isin(kinds, (0, 2)).astype(float)
    assert 0.93 <= coverage(first, second, chances[1] - chances[2]) <= 0.97


def test_interval_covers_the_difference_of_averages_over_seeds() -> None:
    """Guards against an interval whose width counts runs as queries: three seeds share the query's difficulty.

    A query is easy with chance 1/2; the methods are then right with chances 0.9 and 0.8, else with 0.5 and 0.3.
    """
    rng = np.random.default_rng(11)
    easy = rng.random((EXPERIMENTS, QUERIES, 1)) < 0.5
    runs = rng.random((2, EXPERIMENTS, QUERIES, 3))
    first = (runs[0] < np.where(easy, 0.9, 0.5)).mean(axis=-1)
    second = (runs[1] < np.where(easy, 0.8, 0.3)).mean(axis=-1)
    assert 0.93 <= coverage(first, second, 0.15) <= 0.97
