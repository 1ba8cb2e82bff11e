"""Sets whose tokens cover the query's: Set-BSR (Gupta, Gardner & Singh, 2023). The first picked stands last.

A candidate's BERTScore-Recall is the mean, over the query's tokens, of the cosine similarity to its nearest token in
the candidate; that of a set takes the nearest token in any member. Sets grow greedily, so that what one demonstration
leaves uncovered another one covers. All tokens of the query weigh alike.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from selector.data.pool import Pool
from selector.errors import UsageError
from selector.prompting.embedding_text import input_text
from selector.retrieval.encoder import TextEncoder, TokenEncoder, query_encoder_of
from selector.retrieval.index import Rows
from selector.strategies.dense import NearestSelector, nearest_shortlists
from selector.types import Query, Selection


def token_coverage(query: Rows, candidates: Sequence[Rows]) -> npt.NDArray[np.float64]:
    """Finds how well each candidate covers each token of a query.

    Args:
        query: (T, D) token embeddings of unit norm.
        candidates: K arrays (T_i, D), each of at least one token.

    Returns:
        (T, K) cosine similarity to the candidate's nearest token; the column means are BERTScore-Recalls.
    """
    starts = np.cumsum([0] + [len(rows) for rows in candidates[:-1]])
    nearest = np.maximum.reduceat(query @ np.concatenate(candidates).T, starts, axis=1)
    return np.asarray(nearest, dtype=np.float64)


def greedy_cover(coverage: npt.NDArray[np.floating], k: int) -> list[int]:
    """Picks candidates one by one, each time the one that raises the coverage of the set most.

    Gupta, Gardner & Singh (2023), algorithm 1. Where no candidate raises it, a new cover is begun with those left.

    Args:
        coverage: (T, K) how well each candidate covers each token; higher is better.
        k: How many to pick, at most K.

    Returns:
        k distinct candidates, first picked first; of equal ones the first.
    """
    picked: list[int] = []
    covered = np.full(len(coverage), -np.inf)  # (T,) by the cover that is being grown
    free = np.ones(coverage.shape[1], dtype=bool)
    reached = -np.inf
    while len(picked) < k:
        means = np.where(free, np.maximum(coverage, covered[:, None]).mean(axis=0), -np.inf)
        best = int(means.argmax())
        if means[best] > reached:
            picked.append(best)
            free[best] = False
            covered, reached = np.maximum(covered, coverage[:, best]), float(means[best])
        else:
            covered, reached = np.full(len(coverage), -np.inf), -np.inf
    return picked


class BSRSelector:
    """Picks, from the nearest examples, a set whose tokens cover the query's; scores are BERTScore-Recalls.

    Args:
        pool: The pool.
        encoder: Embeds texts and their tokens.
        shortlist: How many nearest examples are looked at, or k when that is more; as published, all are.

    Raises:
        UsageError: When the encoder does not give embeddings of tokens.
    """

    def __init__(self, pool: Pool, encoder: TextEncoder, *, shortlist: int = 100) -> None:
        if not isinstance(encoder, TokenEncoder):
            raise UsageError(
                f"the encoder is a {type(encoder).__name__}, without token_embeddings",
                expected="an encoder that embeds tokens",
                remedy="Use a SentenceEncoder, or a method that compares whole texts.",
            )
        self._tokens = encoder
        asks = query_encoder_of(encoder)
        self._query_tokens = asks if isinstance(asks, TokenEncoder) else encoder
        self._nearest = NearestSelector(pool, encoder)
        self._shortlist = shortlist
        self._known: dict[int, Rows] = {}

    def select(self, queries: Sequence[Query], k: int) -> list[Selection]:
        """Picks a set of k for each query; see `Selector.select`."""
        if not k or not queries:
            return [Selection((), ()) for _ in queries]
        shortlists = nearest_shortlists(self._nearest, queries, k, size=self._shortlist)
        self._embed(sorted({index for near in shortlists for index in near.indices}))
        asked = self._query_tokens.token_embeddings([input_text(query) for query in queries])
        return [self._pick(rows, near, k) for rows, near in zip(asked, shortlists, strict=True)]

    def _embed(self, positions: Sequence[int]) -> None:
        new = [position for position in positions if position not in self._known]
        texts = [input_text(self._nearest.pool[position]) for position in new]
        self._known.update(zip(new, self._tokens.token_embeddings(texts), strict=True))

    def _pick(self, query: Rows, near: Selection, k: int) -> Selection:
        nearest_first = near.indices[::-1]
        coverage = token_coverage(query, [self._known[index] for index in nearest_first])
        picked = greedy_cover(np.round(coverage, 6), k)[::-1]  # rounding must not look like a gain
        recall = coverage.mean(axis=0)
        return Selection(tuple(nearest_first[at] for at in picked), tuple(float(recall[at]) for at in picked))
