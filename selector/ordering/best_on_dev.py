"""The order that answers labelled dev queries best: what orders without labels are to be measured against.

One order serves a set, whatever the query. Dev queries that decide must not be the ones that are reported on.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from selector.errors import TooFewExamplesError
from selector.inference.engine import InferenceEngine
from selector.ordering.judging import right_answers
from selector.ordering.permutations import DEFAULT_PERMUTATIONS, OrderSearch, PermutationConfig
from selector.progress import SILENT, Progress
from selector.types import Example, Query, Selection


class BestOnDevOrderer:
    """Puts every set into the order with the best dev accuracy, ties by the mean log-probability of the gold labels.

    Args:
        engine: Answers the dev queries behind every order.
        dev: Labelled queries.
        config: Which orders are tried.
        progress: Shows how many sets are done.

    Raises:
        TooFewExamplesError: When there is no dev query to judge by.
        UsageError: When a dev query duplicates a member of the pool.
    """

    def __init__(
        self,
        engine: InferenceEngine,
        dev: Sequence[Example],
        *,
        config: PermutationConfig = DEFAULT_PERMUTATIONS,
        progress: Progress = SILENT,
    ) -> None:
        if not dev:
            raise TooFewExamplesError(available=0, wanted=1, what="dev examples")
        engine.pool.require_apart(dev, "dev examples")
        self._engine = engine
        self._dev = dev
        self._search = OrderSearch(self._choose, config, name="dev accuracy", progress=progress)

    def order(self, queries: Sequence[Query], selections: Sequence[Selection]) -> list[Selection]:
        """Orders each selection; see `Orderer.order`.

        Args:
            queries: N queries; not looked at.
            selections: N selections.

        Returns:
            N permuted selections; orders alike on dev go to the one that comes first, the given one before all.

        Raises:
            UnknownLabelError: When a dev query has no label or one that cannot be answered.
        """
        del queries
        return self._search.best(selections)

    def _choose(self, orders: Sequence[Selection]) -> int:
        right = right_answers(self._engine, self._dev, orders).sum(axis=1)
        tied = np.flatnonzero(right == right.max())
        if len(tied) == 1:
            return int(tied[0])
        # Scores of these prompts are known by now to a language model with a score store.
        asked, shown = list(self._dev) * len(tied), [orders[at] for at in tied.tolist() for _ in self._dev]
        means = self._engine.gold_logprobs(asked, shown).reshape(len(tied), -1).mean(axis=1)
        return int(tied[int(np.argmax(np.round(means, 9)))])
