"""Orders that need no language model: as given, the other way round, or by similarity to the query."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from selector.data.pool import Pool
from selector.ordering.base import permuted
from selector.prompting.embedding_text import input_text
from selector.retrieval.encoder import TextEncoder, query_encoder_of
from selector.types import Query, Selection


class GivenOrder:
    """Leaves every selection as its selector gave it."""

    def order(self, queries: Sequence[Query], selections: Sequence[Selection]) -> list[Selection]:
        """Changes nothing; see `Orderer.order`."""
        del queries
        return list(selections)


class ReverseOrder:
    """Turns every selection round: what its selector put first stands next to the query."""

    def order(self, queries: Sequence[Query], selections: Sequence[Selection]) -> list[Selection]:
        """Reverses each selection; see `Orderer.order`."""
        del queries
        return [permuted(selection, range(len(selection.indices))[::-1]) for selection in selections]


class SimilarityOrderer:
    """Orders by cosine similarity to the query.

    Args:
        pool: What selections refer to.
        encoder: Embeds queries and demonstrations.
        nearest_last: Whether the most similar demonstration stands next to the query (KATE; Liu et al., 2022) or first.
    """

    def __init__(self, pool: Pool, encoder: TextEncoder, *, nearest_last: bool = True) -> None:
        self._pool = pool
        self._encoder, self._query_encoder = encoder, query_encoder_of(encoder)
        self._sign = 1.0 if nearest_last else -1.0

    def order(self, queries: Sequence[Query], selections: Sequence[Selection]) -> list[Selection]:
        """Orders each selection; equal similarities keep their order; see `Orderer.order`."""
        return [self._ordered(query, selection) for query, selection in zip(queries, selections, strict=True)]

    def _ordered(self, query: Query, selection: Selection) -> Selection:
        if not selection.indices:
            return selection
        rows = self._encoder.encode([input_text(self._pool[index]) for index in selection.indices])
        asked = self._query_encoder.encode([input_text(query)])[0]
        similarity = self._sign * (rows @ asked)
        return permuted(selection, [int(at) for at in np.argsort(similarity, kind="stable")])
