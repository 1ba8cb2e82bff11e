"""Search on dev queries: the best of several random sets, and greedy growth (both in Zhang, Feng & Tan, 2022).

One set serves every query. It is judged by dev accuracy and, where that ties, by the mean log-probability of the gold
labels. The language model is asked the first time a number of shots is wanted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

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
        tokens: Judge as many as fit into so many tokens asked of the language model, instead; see
            `SetJudge.values_within`.
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
        tokens: int | None = None,
        seed: int = 0,
        progress: Progress = SILENT,
    ) -> None:
        super().__init__(engine.pool)
        self._judge = SetJudge(engine, dev)
        self._sets = sets
        self._tokens = tokens
        self._seed = seed
        self._progress = progress

    def _choose(self, k: int) -> Selection:
        # Asked apart, as in the results published with this library: costs compare.
        if self._tokens is not None:
            with self._progress.track("best of random sets, tokens", self._tokens) as advance:
                judged = self._judge.values_within(self._drawn(k), self._tokens, apart=True, advance=advance)
        else:
            judged = []
            with self._progress.track(f"best of {self._sets} random sets", self._sets) as advance:
                for candidate in islice(self._drawn(k), self._sets):
                    judged.append((self._judge.value_apart(candidate), candidate))
                    advance(1)
        return Selection.of(*max(judged)[1])

    def _drawn(self, k: int) -> Iterator[tuple[int, ...]]:
        rng = np.random.default_rng([self._seed, k])
        while True:
            yield tuple(int(position) for position in rng.choice(len(self._pool), k, replace=False))


class GreedySelector(SharedSetSelector):
    """Grows one set: each step appends the candidate behind which the dev queries are answered best.

    The oracle of Zhang, Feng & Tan (2022), run on dev instead of test. Every step costs a judgement of every candidate
    that is left, so a large pool is sampled. The set is grown to k even where a step lowers dev accuracy.

    Args:
        engine: Judges the sets.
        dev: Labelled queries.
        candidates: How many pool examples are looked at, or k when that is more.
        tokens: Look at as many, in each step anew from the whole pool, as fit into so many tokens asked of the language
            model, instead; every step may spend an equal part of what those before it have left.
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
        tokens: int | None = None,
        seed: int = 0,
        progress: Progress = SILENT,
    ) -> None:
        super().__init__(engine.pool)
        self._judge = SetJudge(engine, dev)
        self._candidates = candidates
        self._tokens = tokens
        self._seed = seed
        self._progress = progress

    def _choose(self, k: int) -> Selection:
        if self._tokens is not None:
            return self._within(self._tokens, k)
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

    def _within(self, tokens: int, k: int) -> Selection:
        generator = np.random.default_rng([self._seed, k])
        chosen: tuple[int, ...] = ()
        reached: list[float] = []
        spent: list[int] = []
        with self._progress.track("greedy search, tokens", tokens) as advance:

            def count(asked: int) -> None:
                spent.append(asked)
                advance(asked)

            for step in range(k):
                order = generator.permutation(len(self._pool))  # a fair sample, however many of it fit
                sets = ((*chosen, int(at)) for at in order if int(at) not in chosen)
                share = max(tokens - sum(spent), 0) // (k - step)
                judged = self._judge.values_within(sets, share, advance=count)
                (accuracy, _), chosen = max(judged, key=lambda one: one[0])  # of equal ones the first drawn
                reached.append(accuracy)
        return Selection(chosen, tuple(reached))
