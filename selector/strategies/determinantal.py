"""Relevant sets whose members differ: the determinantal point process of CEIL (Ye et al., 2023). Best last.

Over a trained retriever this is CEIL's inference; over a plain encoder it needs no training. The most probable set is
looked for; sets are drawn at random in `determinantal_sampling`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from selector.errors import UsageError
from selector.retrieval.encoder import TextEncoder
from selector.strategies.dense import NearestSelector, nearest_shortlists
from selector.types import Query, Selection

# What is left of a candidate below this share of its own weight is rounding: those picked span it already.
SPANNED: Final = 1e-10


def ceil_kernel(
    relevance: npt.NDArray[np.floating], similarity: npt.NDArray[np.floating], *, trade_off: float
) -> npt.NDArray[np.float64]:
    """Weighs the similarity of candidates with their relevance: L = diag(r) S diag(r).

    Ye et al. (2023), section 3: S = (similarity + 1) / 2 and r = exp(((relevance + 1) / 2 - max) / (2 * trade_off)),
    so that log det(L_Y) is, up to a constant, the sum of (relevance + 1) / (2 * trade_off) over Y plus log det(S_Y).

    Args:
        relevance: (K,) cosine similarity of each candidate to the query; K is 1 or more.
        similarity: (K, K) cosine similarity between candidates.
        trade_off: More than 0; towards 0 relevance alone counts, large values leave diversity alone.

    Returns:
        (K, K) kernel, positive semi-definite; its largest weight on the diagonal is that of the most relevant.
    """
    fitting = (np.asarray(relevance, dtype=np.float64) + 1) / 2
    quality = np.exp((fitting - fitting.max()) / (2 * trade_off))
    alike = (np.asarray(similarity, dtype=np.float64) + 1) / 2
    return np.asarray(quality[:, None] * alike * quality, dtype=np.float64)


def greedy_map(kernel: npt.NDArray[np.floating], k: int) -> list[int]:
    """Picks, one by one, the candidate that makes the determinant of those picked largest.

    Fast greedy MAP inference by an incremental Cholesky factor, Chen, Zhang & Zhou (2018), algorithm 1; O(k^2 K).
    Where no candidate is left that those picked do not span (duplicates, or k above the rank), every determinant is
    zero, and the places that are left go to the largest weights on the diagonal, which are the most relevant.

    Args:
        kernel: (K, K) positive semi-definite.
        k: How many to pick, at most K.

    Returns:
        k distinct candidates, first picked first; of equal ones the first in the kernel.
    """
    return picked_one_by_one(kernel, k, lambda gains: int(gains.argmax()))


def picked_one_by_one(
    kernel: npt.NDArray[np.floating], k: int, choose: Callable[[npt.NDArray[np.float64]], int]
) -> list[int]:
    """Picks candidates in turn, by what each would multiply the determinant of those picked; see `greedy_map`.

    Args:
        kernel: (K, K) positive semi-definite.
        k: How many to pick, at most K.
        choose: (K,) factors, 0 where a candidate adds nothing and at least one more than 0, to the next one picked.

    Returns:
        k distinct candidates, first picked first; where all factors are 0, those of the largest weights.
    """
    weights = np.diagonal(kernel).astype(np.float64)
    gains = weights.copy()  # (K,) by what each candidate would multiply the determinant
    factor = np.zeros((k, len(weights)))  # rows of the Cholesky factor, one for each one picked
    picked: list[int] = []
    while len(picked) < k:
        adding = np.where(gains > SPANNED * weights, gains, 0.0)
        if not adding.any():
            break
        best = choose(adding)
        known = factor[: len(picked)]
        row = (kernel[best] - known[:, best] @ known) / np.sqrt(gains[best])
        factor[len(picked)] = row
        gains -= row**2
        gains[best] = 0.0
        picked.append(best)
    spare = [int(at) for at in np.argsort(-weights, kind="stable") if int(at) not in picked]
    return picked + spare[: k - len(picked)]


class DPPSelector:
    """Picks the set that a determinantal point process over the nearest examples finds most probable.

    Args:
        nearest: Finds the nearest; a `RetrieverSelector` makes this CEIL.
        trade_off: More than 0; towards 0 relevance alone counts, large values leave diversity alone.
        shortlist: How many nearest examples are looked at, or k when that is more.

    Raises:
        UsageError: When the trade-off is not more than 0.
    """

    def __init__(self, nearest: NearestSelector, *, trade_off: float = 0.1, shortlist: int = 100) -> None:
        if not trade_off > 0:
            raise UsageError(
                f"the DPP trade-off is {trade_off}", expected="more than 0", remedy="Choose another value."
            )
        self._nearest = nearest
        self._trade_off = trade_off
        self._shortlist = shortlist

    @property
    def encoder(self) -> TextEncoder:
        """Embeds demonstrations."""
        return self._nearest.encoder

    def select(self, queries: Sequence[Query], k: int) -> list[Selection]:
        """Picks a set of k for each query, the most relevant last; see `Selector.select`."""
        if not k:
            return [Selection((), ()) for _ in queries]
        shortlists = nearest_shortlists(self._nearest, queries, k, size=self._shortlist)
        return [self._pick(query, near, k) for query, near in zip(queries, shortlists, strict=True)]

    def _pick(self, query: Query, near: Selection, k: int) -> Selection:
        nearest_first, relevance = near.indices[::-1], near.scores[::-1]
        rows = self._nearest.rows_of(nearest_first).astype(np.float64)
        kernel = ceil_kernel(np.array(relevance), rows @ rows.T, trade_off=self._trade_off)
        picked = sorted(self._chosen(query, kernel, k), reverse=True)
        return Selection(tuple(nearest_first[at] for at in picked), tuple(relevance[at] for at in picked))

    def _chosen(self, query: Query, kernel: npt.NDArray[np.float64], k: int) -> list[int]:
        """Picks k candidates, the most relevant of which come first in the kernel."""
        del query
        return greedy_map(kernel, k)
