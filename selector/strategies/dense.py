"""Nearest neighbours by cosine similarity of embeddings (KATE; Liu et al., 2022). Most similar last."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from selector.data.pool import Pool
from selector.prompting.embedding_text import input_text, labelled_text
from selector.retrieval.encoder import TextEncoder, query_encoder_of
from selector.retrieval.index import Rows
from selector.retrieval.text_index import TextIndex
from selector.strategies.base import excluded_positions
from selector.types import Query, Selection


class NearestSelector:
    """Takes the pool's nearest examples.

    Args:
        pool: The pool.
        encoder: Embeds queries and demonstrations.
        labelled_demonstrations: Whether demonstrations are embedded with their label, as EPR trains them.
        query_encoder: Embeds queries; by default what `query_encoder_of` gives.
        index: An index of the demonstrations' texts, made with `encoder`; it is brought up to date with the pool.
    """

    def __init__(
        self,
        pool: Pool,
        encoder: TextEncoder,
        *,
        labelled_demonstrations: bool = False,
        query_encoder: TextEncoder | None = None,
        index: TextIndex | None = None,
    ) -> None:
        self.pool = pool
        self.encoder = encoder
        self.query_encoder = query_encoder or query_encoder_of(encoder)
        self.labelled_demonstrations = labelled_demonstrations
        self._given_index = index

    @cached_property
    def rows(self) -> Rows:
        """(P, D) embeddings of the pool."""
        return self.encoder.encode(self.texts)

    def rows_of(self, positions: Sequence[int]) -> Rows:
        """Gives embeddings of members of the pool, out of the index where one was given.

        Args:
            positions: N positions.

        Returns:
            (N, D) embeddings.
        """
        return self.rows[list(positions)] if self._given_index is None else self.index.rows_of(positions)

    @cached_property
    def places_by_label(self) -> tuple[NDArray[np.int64], ...]:
        """For each label of the pool the positions of the members that bear it, ascending."""
        found: defaultdict[str, list[int]] = defaultdict(list)
        for position, example in enumerate(self.pool):
            found[str(example.label)].append(position)
        return tuple(np.array(found[label], dtype=np.int64) for label in self.pool.labels)

    @property
    def texts(self) -> list[str]:
        """The P texts that are embedded."""
        form = labelled_text if self.labelled_demonstrations else input_text
        return [form(example) for example in self.pool]

    @cached_property
    def index(self) -> TextIndex:
        """The index of the pool, made when it is first needed."""
        if self._given_index is None:
            return TextIndex(self.encoder, self.texts)
        self._given_index.update(self.texts)
        return self._given_index

    def select(self, queries: Sequence[Query], k: int) -> list[Selection]:
        """Finds the k nearest for each query; see `Selector.select`."""
        if not queries or not k:
            return [Selection((), ()) for _ in queries]
        excluded = [excluded_positions(self.pool, query, k) for query in queries]
        # Enough neighbours that k are left when the query and its duplicates are among them.
        wanted = min(len(self.pool), k + max(map(len, excluded)))
        asked = self.query_encoder.encode([input_text(query) for query in queries])
        scores, positions = self.index.search(asked, wanted)
        selections = []
        for own, row_scores, row in zip(excluded, scores.tolist(), positions.tolist(), strict=True):
            kept = [(at, score) for at, score in zip(row, row_scores, strict=True) if at not in own][k - 1 :: -1]
            selections.append(Selection(tuple(at for at, _ in kept), tuple(score for _, score in kept)))
        return selections


def nearest_shortlists(nearest: NearestSelector, queries: Sequence[Query], k: int, *, size: int) -> list[Selection]:
    """Finds the candidates that a selector of k looks at more closely.

    Args:
        nearest: Finds the nearest.
        queries: N queries.
        k: How many will be chosen, 1 or more.
        size: How many candidates are wanted, or k when that is more.

    Returns:
        N selections, the nearest last; fewer candidates only where the pool without the query's duplicates is smaller.

    Raises:
        TooFewExamplesError: When fewer than k are left for a query.
    """
    found = [Selection((), ()) for _ in queries]
    by_room: defaultdict[int, list[int]] = defaultdict(list)  # queries with as many candidates are searched at once
    for number, query in enumerate(queries):
        left = len(nearest.pool) - len(excluded_positions(nearest.pool, query, k))
        by_room[min(max(size, k), left)].append(number)
    for room, numbers in by_room.items():
        shortlists = nearest.select([queries[number] for number in numbers], room)
        for number, shortlist in zip(numbers, shortlists, strict=True):
            found[number] = shortlist
    return found
