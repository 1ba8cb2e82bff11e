"""TopK+MDL: of several sets of the nearest, the one that makes the answer surest (self-adaptive ICL; Wu et al., 2023).

The entropy of the label distribution stands for the length of the answer's code, and the shortest wins: the sign is
the opposite of LocalE's. No gold label is looked at.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from selector.inference.engine import InferenceEngine
from selector.ordering.entropy import entropy
from selector.progress import SILENT, Progress
from selector.strategies.dense import NearestSelector, nearest_shortlists
from selector.strategies.judging import Numbers, ask_options
from selector.strategies.random import query_generator
from selector.types import Query, Selection


class MDLSelector:
    """Shows each query, of several random sets of its nearest, the one with the lowest entropy over the labels.

    A set is drawn with its order. One of them always is the k nearest, the most similar last. The scores of a selection
    are the negative entropy of its set, nats.

    Args:
        engine: Gives the distributions over labels; its pool is the pool.
        nearest: Finds the nearest.
        shortlist: How many nearest examples sets are drawn from, or k when that is more.
        sets: How many sets are compared for each query.
        seed: With the query's uid it seeds the draws, so that a choice does not depend on the batch.
        progress: Shows how many queries are done.
    """

    def __init__(
        self,
        engine: InferenceEngine,
        nearest: NearestSelector,
        *,
        shortlist: int = 30,
        sets: int = 10,
        seed: int = 0,
        progress: Progress = SILENT,
    ) -> None:
        engine.require_label_scores("the method mdl")
        self._engine = engine
        self._nearest = nearest
        self._shortlist = shortlist
        self._sets = sets
        self._seed = seed
        self._progress = progress

    def select(self, queries: Sequence[Query], k: int) -> list[Selection]:
        """Picks a set of k for each query; see `Selector.select`."""
        if not k:
            return [Selection((), ()) for _ in queries]
        options = self.candidate_sets(queries, k)
        with self._progress.track("minimum description length", len(queries)) as advance:
            entropies = ask_options(queries, options, self._entropies, advance=advance)
        return [self._surest(own, values) for own, values in zip(options, entropies, strict=True)]

    def candidate_sets(self, queries: Sequence[Query], k: int) -> list[list[Selection]]:
        """Draws the sets that are compared.

        Args:
            queries: N queries.
            k: Demonstrations in each set, 1 or more.

        Returns:
            N lists of selections, the k nearest first.

        Raises:
            TooFewExamplesError: When fewer than k are left for a query.
        """
        shortlists = nearest_shortlists(self._nearest, queries, k, size=self._shortlist)
        options = []
        for query, near in zip(queries, shortlists, strict=True):
            generator = query_generator(query, seed=self._seed)
            drawn = [generator.choice(near.indices, k, replace=False) for _ in range(self._sets - 1)]
            options.append([Selection.of(*near.indices[-k:]), *(Selection.of(*map(int, one)) for one in drawn)])
        return options

    def _entropies(self, queries: Sequence[Query], selections: Sequence[Selection]) -> Numbers:
        return np.round(entropy(self._engine.probabilities(queries, selections)), 9)

    @staticmethod
    def _surest(options: Sequence[Selection], entropies: Numbers) -> Selection:
        best = int(entropies.argmin())
        indices = options[best].indices
        return Selection(indices, (-float(entropies[best]),) * len(indices))
