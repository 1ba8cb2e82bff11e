"""Selector, orderer and engine in a row: from queries to answers.

Whether an artifact was made for the engine's template and language model is `LearnedSelector.check_engine`'s question.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from selector.inference.engine import InferenceEngine
from selector.ordering.base import Orderer
from selector.strategies.base import Selector
from selector.types import Prediction, Query, Selection


class Pipeline:
    """Answers queries with demonstrations.

    Args:
        selector: Chooses demonstrations from the engine's pool.
        engine: Answers.
        orderer: Puts the chosen ones into order; None leaves them as they were chosen.
    """

    def __init__(self, selector: Selector, engine: InferenceEngine, *, orderer: Orderer | None = None) -> None:
        self.selector = selector
        self.engine = engine
        self.orderer = orderer

    def select(self, queries: Sequence[Query], k: int) -> list[Selection]:
        """Chooses and orders demonstrations.

        Args:
            queries: N queries.
            k: Demonstrations for each.

        Returns:
            N selections in prompt order.

        Raises:
            TooFewExamplesError: When the pool has fewer than k for a query.
        """
        chosen = self.selector.select(queries, k)
        return chosen if self.orderer is None else self.orderer.order(queries, chosen)

    def predict(
        self, queries: Sequence[Query], k: int, *, advance: Callable[[int], None] | None = None
    ) -> list[Prediction]:
        """Answers queries.

        Args:
            queries: N queries.
            k: Demonstrations for each.
            advance: Called with the number of queries just answered.

        Returns:
            N predictions.
        """
        return self.engine.predict(queries, self.select(queries, k), advance=advance)
