"""Nearest neighbours by cosine similarity of embeddings (KATE; Liu et al., 2022). Most similar last."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from selector.data.pool import Pool
from selector.prompting.embedding_text import input_text, labelled_text
from selector.retrieval.encoder import TextEncoder
from selector.retrieval.index import Rows, VectorIndex
from selector.strategies.base import require_enough
from selector.types import Query, Selection


class NearestSelector:
    """Takes the pool's nearest examples.

    Args:
        pool: The pool.
        encoder: Embeds queries and demonstrations.
        labelled_demonstrations: Whether demonstrations are embedded with their label, as EPR trains them.
    """

    def __init__(self, pool: Pool, encoder: TextEncoder, *, labelled_demonstrations: bool = False) -> None:
        self.pool = pool
        self.encoder = encoder
        self.labelled_demonstrations = labelled_demonstrations

    @cached_property
    def rows(self) -> Rows:
        """(P, D) embeddings of the pool."""
        form = labelled_text if self.labelled_demonstrations else input_text
        return self.encoder.encode([form(example) for example in self.pool])

    @cached_property
    def _index(self) -> VectorIndex:
        return VectorIndex(self.rows)

    def select(self, queries: Sequence[Query], k: int) -> list[Selection]:
        """Finds the k nearest for each query; see `Selector.select`."""
        if not queries or not k:
            return [Selection((), ()) for _ in queries]
        for query in queries:
            require_enough(self.pool, query, k)
        excluded = [self.pool.duplicates_of(query) for query in queries]
        # Enough neighbours that k are left when the query and its duplicates are among them.
        wanted = min(len(self.pool), k + max(map(len, excluded)))
        scores, positions = self._index.search(self.encoder.encode([input_text(query) for query in queries]), wanted)
        selections = []
        for own, row_scores, row in zip(excluded, scores, positions, strict=True):
            kept = [(int(at), float(score)) for at, score in zip(row, row_scores, strict=True) if int(at) not in own][
                :k
            ]
            kept.reverse()
            selections.append(Selection(tuple(at for at, _ in kept), tuple(score for _, score in kept)))
        return selections
