"""Search on dev queries: the best of several random sets, and greedy growth (both in Zhang, Feng & Tan, 2022).

One set serves every query. It is judged by dev accuracy and, where that ties, by the mean log-probability of the gold
labels. The language model is asked the first time a number of shots is wanted.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from selector.inference.engine import InferenceEngine
from selector.learned.candidate_set import draw_candidates
from selector.progress import SILENT, Progress
from selector.strategies.judging import SetJudge
from selector.strategies.shared import SharedSetSelector
from selector.types import Example, Selection


class BestOfKSelector(SharedSetSelector):
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
        super().__init__(engine.pool)
        self._judge = SetJudge(engine, dev)
        self._sets = sets
        self._seed = seed
        self._progress = progress

    def _choose(self, k: int) -> Selection:
        rng = np.random.default_rng([self._seed, k])
        drawn = [
            tuple(int(position) for position in rng.choice(len(self._pool), k, replace=False))
            for _ in range(self._sets)
        ]
        with self._progress.track(f"best of {self._sets} random sets", len(drawn)) as advance:
            judged = []
            for candidate in drawn:  # asked apart, as in the results published with this library: costs compare
                judged.append(self._judge.value_apart(candidate))
                advance(1)
        return Selection.of(*max(zip(judged, drawn, strict=True))[1])


class GreedySelector(SharedSetSelector):
    """Grows one set: each step appends the candidate behind which the dev queries are answered best.

    The oracle of Zhang, Feng & Tan (2022), run on dev instead of test. Every step costs a judgement of every candidate
    that is left, so a large pool is sampled. The set is grown to k even where a step lowers dev accuracy.

    Args:
        engine: Judges the sets.
        dev: Labelled queries.
        candidates: How many pool examples are looked at, or k when that is more.
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
        candidates: int = 32,
        seed: int = 0,
        progress: Progress = SILENT,
    ) -> None:
        super().__init__(engine.pool)
        self._judge = SetJudge(engine, dev)
        self._candidates = candidates
        self._seed = seed
        self._progress = progress

    def _choose(self, k: int) -> Selection:
        left = draw_candidates(self._pool, max(self._candidates, k), seed=self._seed)
        chosen: list[int] = []
        reached: list[float] = []  # dev accuracy of the set that each one picked completed
        with self._progress.track("greedy search", sum(len(left) - step for step in range(k))) as advance:
            while len(chosen) < k:
                judged = self._judge.values([(*chosen, candidate) for candidate in left], advance=advance)
                best = max(range(len(left)), key=judged.__getitem__)  # of equal ones the first in the pool
                chosen.append(left.pop(best))
                reached.append(judged[best][0])
        return Selection(tuple(chosen), tuple(reached))
