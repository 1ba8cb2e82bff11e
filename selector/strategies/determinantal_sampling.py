"""Sets drawn at random from the determinantal point process of `determinantal`: exact k-DPP sampling. Best last.

Kulesza & Taskar (2011, 2012): eigenvectors are drawn by elementary symmetric polynomials of the eigenvalues, then
candidates from the projection that the eigenvectors span. A set's probability is its determinant over the sum of all.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from selector.strategies.dense import NearestSelector
from selector.strategies.determinantal import DPPSelector, picked_one_by_one
from selector.strategies.random import query_generator
from selector.types import Query

Numbers = npt.NDArray[np.float64]


def log_elementary_polynomials(values: Numbers, k: int) -> Numbers:
    """Computes the elementary symmetric polynomials of all beginnings of a list (Kulesza & Taskar, 2012, algorithm 7).

    Args:
        values: (K,) numbers more than 0.
        k: The highest degree.

    Returns:
        (k + 1, K + 1) logarithms: [j, n] is that of the sum, over all sets of j among the first n, of their products;
        -inf where there is no such set.
    """
    table: Numbers = np.full((k + 1, len(values) + 1), -np.inf)
    table[0] = 0.0
    for count, log_value in enumerate(np.log(values), start=1):
        table[1:, count] = np.logaddexp(table[1:, count - 1], log_value + table[:-1, count - 1])
    return table


def sample_k_dpp(kernel: npt.NDArray[np.floating], k: int, *, generator: np.random.Generator) -> list[int]:
    """Draws a set of k with probability proportional to its determinant (Kulesza & Taskar, 2012, algorithms 1 and 8).

    Args:
        kernel: (K, K) positive semi-definite.
        k: How many to draw, at most K.
        generator: Draws.

    Returns:
        k distinct candidates. Where k is above the rank every determinant is 0: a set as large as the rank is drawn,
        and the first of the other candidates follow it.
    """
    values, vectors = np.linalg.eigh(np.asarray(kernel, dtype=np.float64))
    real = values > len(values) * np.finfo(np.float64).eps * values.max(initial=0.0)  # the others are rounding
    values, vectors = values[real], vectors[:, real]
    size = min(k, len(values))
    table = log_elementary_polynomials(values, size)
    spanning: list[int] = []
    for count in range(len(values), 0, -1):
        open_places = size - len(spanning)
        if not open_places:
            break
        log_chance = np.log(values[count - 1]) + table[open_places - 1, count - 1] - table[open_places, count]
        if count == open_places or np.log(generator.random()) < log_chance:
            spanning.append(count - 1)
    span = vectors[:, spanning]
    drawn = picked_one_by_one(
        span @ span.T, size, lambda gains: int(generator.choice(len(gains), p=gains / gains.sum()))
    )
    return drawn + [at for at in range(len(kernel)) if at not in drawn][: k - size]


class DPPSampleSelector(DPPSelector):
    """Draws a set for each query from a determinantal point process over its nearest examples.

    Args:
        nearest: Finds the nearest.
        trade_off: More than 0; towards 0 relevance alone counts, large values leave diversity alone.
        shortlist: How many nearest examples are looked at, or k when that is more.
        seed: With the query's uid it seeds the draw, so that a choice does not depend on the batch.

    Raises:
        UsageError: When the trade-off is not more than 0.
    """

    def __init__(
        self, nearest: NearestSelector, *, trade_off: float = 0.1, shortlist: int = 100, seed: int = 0
    ) -> None:
        super().__init__(nearest, trade_off=trade_off, shortlist=shortlist)
        self._seed = seed

    def _chosen(self, query: Query, kernel: Numbers, k: int) -> list[int]:
        return sample_k_dpp(kernel, k, generator=query_generator(query, seed=self._seed))
