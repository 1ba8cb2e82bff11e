"""MDL: for each query the order behind which the language model is surest of its answer (Wu et al., 2023).

In self-adaptive in-context learning, a good organisation of demonstrations is one that makes the query's label cheap to
transmit: its code length under the model, expected over the model's own label distribution, is that distribution's
entropy, and the LOWEST wins. LocalE (Lu et al., 2022) takes the HIGHEST mean entropy. The signs are opposite because
the questions are: LocalE looks for one order for many probes and fears the order whose answers are all overconfident,
the same whatever is asked; MDL looks for the order that tells most about the one query at hand. No gold label is
looked at, and the answer to a query does not depend on the others.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from selector.inference.engine import InferenceEngine
from selector.ordering.entropy import entropy
from selector.ordering.permutations import DEFAULT_PERMUTATIONS, PermutationConfig, tried_orders
from selector.progress import SILENT, Progress
from selector.types import Query, Selection

PROMPTS = 1024  # asked in one call: enough to share prefixes, short enough to show progress


class MDLOrderer:
    """Gives each query the order of lowest entropy of its label distribution; orders differ between queries.

    The published code normalises the mean cross-entropy over the tokens of input and label; here the distribution is
    the one that the engine answers by, its contextual calibration included.

    Args:
        engine: Scores every query behind every order.
        config: Which orders are tried.
        progress: Shows how many queries are done.

    Raises:
        UsageError: When targets are free text, which has no label distribution.
    """

    def __init__(
        self,
        engine: InferenceEngine,
        *,
        config: PermutationConfig = DEFAULT_PERMUTATIONS,
        progress: Progress = SILENT,
    ) -> None:
        engine.require_label_scores("the order by mdl")
        self._engine = engine
        self._config = config
        self._progress = progress

    def order(self, queries: Sequence[Query], selections: Sequence[Selection]) -> list[Selection]:
        """Orders each selection for its query; see `Orderer.order`.

        Args:
            queries: N queries; labels are not looked at.
            selections: N selections.

        Returns:
            N permuted selections; equal entropies go to the order that comes first, the given one before all.
        """
        tried = [tried_orders(selection, self._config) for selection in selections]
        at_once = max(1, PROMPTS // max(map(len, tried), default=1))
        ordered: list[Selection] = []
        with self._progress.track("orders by mdl", len(queries)) as advance:
            for start in range(0, len(queries), at_once):
                part = slice(start, start + at_once)
                ordered += self._surest(queries[part], tried[part])
                advance(len(tried[part]))
        return ordered

    def _surest(self, queries: Sequence[Query], tried: Sequence[Sequence[Selection]]) -> list[Selection]:
        """Picks from the orders tried for each query, all asked in one call."""
        asked = [(query, order) for query, own in zip(queries, tried, strict=True) for order in own if len(own) > 1]
        values = iter(entropy(self._engine.probabilities([query for query, _ in asked], [order for _, order in asked])))
        surest = []
        for own in tried:
            entropies = [next(values) for _ in own] if len(own) > 1 else [0.0]
            surest.append(own[int(np.argmin(np.round(entropies, 9)))])
        return surest
