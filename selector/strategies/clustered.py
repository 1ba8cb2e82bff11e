"""One representative of each of k clusters of the pool: diversity without a query (as in Zhang et al., 2023, Auto-CoT).

The pool's embeddings are clustered by k-means; the member nearest to each centre stands for its cluster.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from selector.data.pool import Pool
from selector.learned.candidate_set import draw_candidates
from selector.prompting.embedding_text import input_text
from selector.retrieval.encoder import TextEncoder
from selector.strategies.shared import SharedSetSelector
from selector.types import Selection

MOST_CLUSTERED: Final = 10_000  # of a larger pool this many are drawn: k centres need no more
STARTS: Final = 10  # k-means keeps the best of as many starts


class KMeansSelector(SharedSetSelector):
    """Shows every query the pool's k cluster representatives, that of the largest cluster last.

    A selection's scores are the shares of the pool that its members stand for. Where the pool has fewer than k distinct
    embeddings, the other places go to the first pool examples.

    Args:
        pool: The pool.
        encoder: Embeds the pool.
        seed: Seeds the clustering.
    """

    def __init__(self, pool: Pool, encoder: TextEncoder, *, seed: int = 0) -> None:
        super().__init__(pool)
        self._encoder = encoder
        self._seed = seed

    def _choose(self, k: int) -> Selection:
        from sklearn.cluster import KMeans

        positions = draw_candidates(self._pool, max(MOST_CLUSTERED, k), seed=self._seed)
        rows = self._encoder.encode([input_text(self._pool[position]) for position in positions])
        clusters = min(k, len(np.unique(rows, axis=0)))
        fitted = KMeans(clusters, n_init=STARTS, random_state=self._seed).fit(rows)
        distances = fitted.transform(rows)  # (P, clusters)
        standing: dict[int, float] = {}
        for cluster in range(clusters):
            members = np.flatnonzero(fitted.labels_ == cluster)
            nearest = int(members[distances[members, cluster].argmin()])
            standing[positions[nearest]] = len(members) / len(rows)
        for position in positions:
            if len(standing) == k:
                break
            standing.setdefault(position, 0.0)
        ordered = sorted(standing.items(), key=lambda entry: (entry[1], -entry[0]))
        return Selection(tuple(position for position, _ in ordered), tuple(share for _, share in ordered))
