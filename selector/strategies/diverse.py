"""Relevance against redundancy: maximal marginal relevance (Carbonell & Goldstein, 1998). Best last."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from selector.data.pool import Pool
from selector.errors import UsageError
from selector.prompting.embedding_text import input_text
from selector.retrieval.encoder import TextEncoder
from selector.strategies.dense import NearestSelector, nearest_shortlists
from selector.types import Query, Selection


def maximal_marginal_relevance(
    relevance: npt.NDArray[np.floating], similarity: npt.NDArray[np.floating], k: int, *, trade_off: float
) -> list[tuple[int, float]]:
    """Picks greedily by trade_off * relevance - (1 - trade_off) * similarity to the nearest one picked.

    Carbonell & Goldstein (1998), equation for MMR.

    Args:
        relevance: (K,) relevance of each candidate.
        similarity: (K, K) similarity between candidates.
        k: How many to pick, at most K.
        trade_off: 1 is relevance alone, 0 diversity alone.

    Returns:
        k pairs of candidate and its marginal relevance, first picked first.
    """
    picked: list[tuple[int, float]] = []
    redundancy = np.zeros(len(relevance))
    free = np.ones(len(relevance), dtype=bool)
    for _ in range(k):
        gains = np.where(free, trade_off * relevance - (1 - trade_off) * redundancy, -np.inf)
        best = int(gains.argmax())
        picked.append((best, float(gains[best])))
        free[best] = False
        redundancy = similarity[best] if len(picked) == 1 else np.maximum(redundancy, similarity[best])
    return picked


class MMRSelector:
    """Picks by maximal marginal relevance from the nearest examples.

    Args:
        pool: The pool.
        encoder: Embeds queries and demonstrations.
        trade_off: 1 is relevance alone, 0 diversity alone.
        shortlist: How many nearest examples are looked at, or k when that is more.
    """

    def __init__(self, pool: Pool, encoder: TextEncoder, *, trade_off: float = 0.5, shortlist: int = 32) -> None:
        if not 0 <= trade_off <= 1:
            raise UsageError(f"the MMR trade-off is {trade_off}", expected="0 to 1", remedy="Choose another value.")
        self._nearest = NearestSelector(pool, encoder)
        self._trade_off = trade_off
        self._shortlist = shortlist

    def select(self, queries: Sequence[Query], k: int) -> list[Selection]:
        """Picks k for each query; see `Selector.select`."""
        if not k:
            return [Selection((), ()) for _ in queries]
        shortlists = nearest_shortlists(self._nearest, queries, k, size=self._shortlist)
        return [self._pick(query, near, k) for query, near in zip(queries, shortlists, strict=True)]

    def _pick(self, query: Query, near: Selection, k: int) -> Selection:
        nearest_first = list(near.indices[::-1])
        rows = self._nearest.rows_of(nearest_first)
        relevance = rows @ self._nearest.query_encoder.encode([input_text(query)])[0]
        picked = maximal_marginal_relevance(relevance, rows @ rows.T, k, trade_off=self._trade_off)[::-1]
        return Selection(tuple(nearest_first[at] for at, _ in picked), tuple(gain for _, gain in picked))
