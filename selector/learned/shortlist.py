"""The candidates that a policy chooses from for one query. Knows embeddings and labels; knows nothing of policies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from selector.data.pool import Pool
from selector.prompting.embedding_text import input_text
from selector.strategies.base import require_enough
from selector.strategies.dense import NearestSelector
from selector.types import Query

TokenCounts = Callable[[Sequence[int]], Sequence[int]]
"""Pool positions to the tokens that each takes as a demonstration."""


@dataclass(frozen=True)
class Shortlist:
    """K candidates for one query, the most similar first.

    Attributes:
        indices: K distinct pool positions; the query and its duplicates are never among them.
        query: (D,) float32 embedding of the query.
        candidates: (K, D) float32 embeddings of the candidates.
        similarities: (K,) float32 cosine similarity of each candidate to the query, descending.
        labels: (K,) int64 which label each candidate bears, as its place among the pool's labels.
        tokens: (K,) int64 how many tokens each candidate takes as a demonstration; None where they were not counted.
    """

    indices: tuple[int, ...]
    query: npt.NDArray[np.float32]
    candidates: npt.NDArray[np.float32]
    similarities: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    tokens: npt.NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.indices)


def build_shortlists(
    queries: Sequence[Query],
    nearest: NearestSelector,
    size: int,
    *,
    at_least: int = 1,
    token_counts: TokenCounts | None = None,
) -> list[Shortlist]:
    """Takes the nearest candidates of each query.

    Args:
        queries: N queries.
        nearest: The pool, its embeddings and their search.
        size: K; a pool that has fewer after leave-one-out gives what it has.
        at_least: How many candidates are needed.
        token_counts: Counts the tokens of candidates, once for each shortlist; None leaves them uncounted.

    Returns:
        N shortlists.

    Raises:
        TooFewExamplesError: When the pool without the query and its duplicates holds fewer than `at_least`.
    """
    shortlists = [_shortlist(query, nearest, size, at_least) for query in queries]
    if token_counts is None:
        return shortlists
    return [replace(own, tokens=np.array(token_counts(own.indices), dtype=np.int64)) for own in shortlists]


def _shortlist(query: Query, nearest: NearestSelector, size: int, at_least: int) -> Shortlist:
    pool: Pool = nearest.pool
    require_enough(pool, query, at_least)
    available = len(pool) - len(pool.duplicates_of(query))
    indices = nearest.select([query], min(size, available))[0].indices[::-1]
    embedded = nearest.query_encoder.encode([input_text(query)])[0]
    candidates = nearest.rows[list(indices)]
    places = {label: place for place, label in enumerate(pool.labels)}
    labels = np.array([places[str(pool[index].label)] for index in indices], dtype=np.int64)
    return Shortlist(indices, embedded, candidates, (candidates @ embedded).astype(np.float32), labels)
