"""The candidates that a policy chooses from for one query. Knows embeddings and labels; knows nothing of policies."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from selector.prompting.embedding_text import input_text
from selector.strategies.dense import NearestSelector, nearest_shortlists
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
    per_label: int = 0,
    token_counts: TokenCounts | None = None,
) -> list[Shortlist]:
    """Takes the nearest candidates of each query.

    Args:
        queries: N queries.
        nearest: The pool, its embeddings and their search.
        size: K, or `at_least` when that is more; a pool that has fewer after leave-one-out gives what it has.
        at_least: How many candidates are needed.
        per_label: How many of them are the nearest of each label, so that none is missing, as far as K goes around.
        token_counts: Counts the tokens of candidates, once for each shortlist; None leaves them uncounted.

    Returns:
        N shortlists.

    Raises:
        TooFewExamplesError: When the pool without the query and its duplicates holds fewer than `at_least`.
    """
    if not queries:
        return []
    found = [one.indices[::-1] for one in nearest_shortlists(nearest, queries, at_least, size=size)]
    embedded = nearest.query_encoder.encode([input_text(query) for query in queries])
    places = {label: place for place, label in enumerate(nearest.pool.labels)}
    if share := min(per_label, size // max(len(places), 1)):
        for number, (query, row) in enumerate(zip(queries, embedded, strict=True)):
            found[number] = _with_every_label(nearest, query, row, indices=found[number], share=share)
    shortlists = [_shortlist(nearest, places, row, indices) for row, indices in zip(embedded, found, strict=True)]
    if token_counts is None:
        return shortlists
    return [replace(own, tokens=np.array(token_counts(own.indices), dtype=np.int64)) for own in shortlists]


def _with_every_label(
    nearest: NearestSelector, query: Query, row: npt.NDArray[np.float32], *, indices: tuple[int, ...], share: int
) -> tuple[int, ...]:
    """As many candidates, the nearest `share` of each label among them, best first."""
    similarities = nearest.rows @ row  # (P,)
    similarities[list(nearest.pool.duplicates_of(query))] = -np.inf
    wanted: set[int] = set()
    for members in nearest.places_by_label:
        own = similarities[members]
        # With all that are as near as the last, of which the first in the pool are taken.
        near = np.flatnonzero(own >= np.partition(own, -share)[-share]) if len(own) > share else np.arange(len(own))
        best = members[near[np.argsort(-own[near], kind="stable")[:share]]]
        wanted.update(int(at) for at in best if np.isfinite(similarities[at]))
    others = [at for at in indices if at not in wanted]
    return tuple(sorted({*wanted, *others[: len(indices) - len(wanted)]}, key=lambda at: (-similarities[at], at)))


def _shortlist(
    nearest: NearestSelector, places: Mapping[str, int], query: npt.NDArray[np.float32], indices: tuple[int, ...]
) -> Shortlist:
    candidates = nearest.rows[list(indices)]
    labels = np.array([places[str(nearest.pool[index].label)] for index in indices], dtype=np.int64)
    return Shortlist(indices, query, candidates, (candidates @ query).astype(np.float32), labels)
