"""Search on dev queries: the best of several random sets (the strong baseline of Zhang, Feng & Tan, 2022).

One set serves every query. It is judged by dev accuracy and, where that ties, by the mean log-probability of the gold
labels. The language model is asked the first time a number of shots is wanted.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from selector.errors import TooFewExamplesError
from selector.inference.engine import InferenceEngine
from selector.progress import SILENT, Progress
from selector.strategies.base import require_enough
from selector.types import Example, Query, Selection


class BestOfKSelector:
    """Shows every query the random set that answers the dev queries best.

    A query that duplicates a member of the set gets, in that member's place, the first pool example outside the set.

    Args:
        engine: Judges the sets.
        dev: Labelled queries.
        sets: How many random sets are judged.
        seed: Seeds their draw.
        progress: Shows the search.

    Raises:
        TooFewExamplesError: When there is no dev query to judge by.
    """

    def __init__(
        self,
        engine: InferenceEngine,
        dev: Sequence[Example],
        *,
        sets: int = 8,
        seed: int = 0,
        progress: Progress = SILENT,
    ) -> None:
        if not dev:
            raise TooFewExamplesError(available=0, wanted=1, what="dev examples")
        self._engine = engine
        self._dev = dev
        self._sets = sets
        self._seed = seed
        self._progress = progress
        self._best: dict[int, tuple[int, ...]] = {}

    def select(self, queries: Sequence[Query], k: int) -> list[Selection]:
        """Gives every query the best set; see `Selector.select`."""
        if not k:
            return [Selection((), ()) for _ in queries]
        for query in queries:
            require_enough(self._engine.pool, query, k)
        return [self._without_query(query, self._best_set(k)) for query in queries]

    def _best_set(self, k: int) -> tuple[int, ...]:
        if k not in self._best:
            if len(self._engine.pool) < k:
                raise TooFewExamplesError(available=len(self._engine.pool), wanted=k)
            rng = np.random.default_rng([self._seed, k])
            drawn = [
                tuple(int(position) for position in rng.choice(len(self._engine.pool), k, replace=False))
                for _ in range(self._sets)
            ]
            with self._progress.track(f"best of {self._sets} random sets", len(drawn)) as advance:
                judged = []
                for candidate in drawn:
                    judged.append(self._judge(candidate))
                    advance(1)
            self._best[k] = max(zip(judged, drawn, strict=True))[1]
        return self._best[k]

    def _judge(self, indices: tuple[int, ...]) -> tuple[float, float]:
        selections = [Selection.of(*indices)] * len(self._dev)
        accuracy = self._engine.accuracy(self._dev, selections)
        return accuracy, float(self._engine.gold_logprobs(self._dev, selections).mean())

    def _without_query(self, query: Query, best: tuple[int, ...]) -> Selection:
        excluded = self._engine.pool.duplicates_of(query)
        spare = (at for at in range(len(self._engine.pool)) if at not in excluded and at not in best)
        return Selection.of(*(next(spare) if index in excluded else index for index in best))
