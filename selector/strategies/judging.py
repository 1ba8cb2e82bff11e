"""What sets of demonstrations are worth on labelled queries, and how many questions go into one call.

Sets are judged on dev queries by accuracy and by the log-probability of the gold labels. Nothing here knows which sets
are worth judging.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from selector.errors import TooFewExamplesError
from selector.inference.calibration import batch_calibrated, log_softmax
from selector.inference.engine import CHUNK, InferenceEngine
from selector.strategies.dense import NearestSelector, nearest_shortlists
from selector.strategies.ranking import best_candidates_last
from selector.types import Example, Query, Selection

SETS_PER_CALL: Final = 8  # enough to share what sets have in common, few enough to show progress
MOST_SETS: Final = 10_000  # in one search within a budget, should a language model count no tokens
Numbers: TypeAlias = npt.NDArray[np.float64]
Value: TypeAlias = tuple[float, float]
"""Accuracy, and the mean log-probability of the gold labels in nats; compared in this order."""


def _unheard(count: int) -> None:
    del count


def ask_options(
    queries: Sequence[Query],
    options: Sequence[Sequence[Selection]],
    ask: Callable[[Sequence[Query], Sequence[Selection]], Numbers],
    *,
    advance: Callable[[int], None] = _unheard,
) -> list[Numbers]:
    """Asks about several selections for each query, in one call for many queries.

    Args:
        queries: N queries.
        options: N lists of selections, O_i for query i.
        ask: Pairs of query and selection to one row or number for each pair.
        advance: Called with the number of queries just asked about.

    Returns:
        N arrays (O_i, ...).
    """
    answers: list[Numbers] = []
    for start in range(0, len(queries), CHUNK):
        own = options[start : start + CHUNK]
        asked = [query for query, sets in zip(queries[start : start + CHUNK], own, strict=True) for _ in sets]
        values = ask(asked, [selection for sets in own for selection in sets])
        answers += np.split(values, np.cumsum([len(sets) for sets in own])[:-1])
        advance(len(own))
    return answers


def best_tried_alone(
    nearest: NearestSelector,
    queries: Sequence[Query],
    k: int,
    *,
    size: int,
    ask: Callable[[Sequence[Query], Sequence[Selection]], Numbers],
    advance: Callable[[int], None] = _unheard,
) -> list[Selection]:
    """Tries each of a query's nearest as its only demonstration and picks those that score highest.

    Args:
        nearest: Finds the nearest.
        queries: N queries.
        k: Demonstrations for each query, 1 or more.
        size: How many of the nearest are tried, or k when that is more.
        ask: Pairs of query and selection to one score for each pair, nats.
        advance: Called with the number of queries just asked about.

    Returns:
        N selections, the best last, with their scores.

    Raises:
        TooFewExamplesError: When fewer than k are left for a query.
    """
    candidates = [near.indices[::-1] for near in nearest_shortlists(nearest, queries, k, size=size)]
    options = [[Selection.of(candidate) for candidate in own] for own in candidates]
    scores = ask_options(queries, options, ask, advance=advance)
    return [best_candidates_last(own, np.round(values, 9), k) for own, values in zip(candidates, scores, strict=True)]


class SetJudge:
    """Values sets of demonstrations by what they do for dev queries.

    Args:
        engine: Answers; its pool is what sets refer to.
        dev: N labelled queries.

    Raises:
        TooFewExamplesError: When there is no dev query to judge by.
        UsageError: When a dev query duplicates a member of the pool.
    """

    def __init__(self, engine: InferenceEngine, dev: Sequence[Example]) -> None:
        if not dev:
            raise TooFewExamplesError(available=0, wanted=1, what="dev examples")
        engine.pool.require_apart(dev, "dev examples")
        self._engine = engine
        self._dev = list(dev)

    def values(self, sets: Sequence[tuple[int, ...]], *, advance: Callable[[int], None] = _unheard) -> list[Value]:
        """Values sets.

        Args:
            sets: S tuples of pool positions in prompt order.
            advance: Called with the number of sets just judged.

        Returns:
            S pairs of accuracy and mean gold log-probability; higher is better.

        Raises:
            UnknownLabelError: When a dev query has no label or one without verbalizer.
        """
        values: list[Value] = []
        for start in range(0, len(sets), SETS_PER_CALL):
            own = sets[start : start + SETS_PER_CALL]
            # Where targets are free text, answers are written and cannot be read off scores.
            values += [self.value_apart(one) for one in own] if self._engine.template.free_text else self._scored(own)
            advance(len(own))
        return values

    def values_within(
        self,
        sets: Iterable[tuple[int, ...]],
        tokens: int,
        *,
        apart: bool = False,
        advance: Callable[[int], None] = _unheard,
    ) -> list[tuple[Value, tuple[int, ...]]]:
        """Values sets in turn for as long as the next ones fit into a number of language-model tokens.

        The first set is always valued: a search needs one. The next ones fit when they do at the price of the dearest
        so far, so a budget is overspent by what one set is longer than another at most.

        Args:
            sets: Tuples of pool positions in prompt order; no more are taken than are valued.
            tokens: What may be asked of the language model, without sharing or cache.
            apart: Whether every set is valued by `value_apart`, at its price.
            advance: Called with the tokens just asked.

        Returns:
            The value of each set that was judged, and the set.

        Raises:
            UnknownLabelError: When a dev query has no label or one without verbalizer.
        """
        judged: list[tuple[Value, tuple[int, ...]]] = []
        spent = dearest = 0
        upcoming = islice(sets, MOST_SETS)
        while True:
            fitting = max(tokens - spent, 0) // max(dearest, 1) if judged else 1
            own = list(islice(upcoming, min(fitting, SETS_PER_CALL)))
            if not own:
                return judged
            before = self._engine.lm.usage.tokens
            values = [self.value_apart(one) for one in own] if apart else self.values(own)
            asked = self._engine.lm.usage.tokens - before
            judged += zip(values, own, strict=True)
            spent, dearest = spent + asked, max(dearest, -(-asked // len(own)))
            advance(asked)

    def value_apart(self, indices: tuple[int, ...]) -> Value:
        """Values one set, asking for answers and for gold log-probabilities apart: twice the cost of `values`.

        Args:
            indices: Pool positions in prompt order.

        Returns:
            Accuracy and mean gold log-probability.
        """
        behind = [Selection.of(*indices)] * len(self._dev)
        accuracy = self._engine.accuracy(self._dev, behind)
        return accuracy, float(self._engine.gold_logprobs(self._dev, behind).mean())

    def _scored(self, sets: Sequence[tuple[int, ...]]) -> list[Value]:
        columns = self._engine.gold_columns(self._dev)
        behind = [Selection.of(*indices) for indices in sets for _ in self._dev]
        scores = self._engine.score(self._dev * len(sets), behind)
        values = []
        for own in np.split(scores, len(sets)):  # (N, L); batch calibration is over the queries of one set
            answered = batch_calibrated(own) if self._engine.calibration == "batch" else own
            gold = log_softmax(own)[np.arange(len(columns)), columns]
            values.append((float((answered.argmax(axis=1) == columns).mean()), float(gold.mean())))
        return values
