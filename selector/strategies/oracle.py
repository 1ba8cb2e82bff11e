"""The LM oracle: demonstrations chosen with the query's GOLD label. An upper bound, never a method to answer with.

Rubin, Herzig & Berant (2022) call it LM-oracle: it shows how much a selector that knew what the language model needs
could gain from one-shot scores. It is what EPR learns to imitate.
"""

from __future__ import annotations

from collections.abc import Sequence

from selector.errors import InvalidExampleError
from selector.inference.engine import InferenceEngine
from selector.progress import SILENT, Progress
from selector.strategies.dense import NearestSelector
from selector.strategies.judging import best_tried_alone
from selector.types import Query, Selection


class OracleSelector:
    """UPPER BOUND: picks the nearest examples behind which, one at a time, the query's gold label scores highest.

    It looks at the label that is to be predicted, so its accuracy must be reported as a bound and not as a result.

    Args:
        engine: Scores the gold labels; its pool is the pool.
        nearest: Finds the candidates.
        shortlist: How many nearest examples are tried, or k when that is more.
        progress: Shows how many queries are done.
    """

    def __init__(
        self,
        engine: InferenceEngine,
        nearest: NearestSelector,
        *,
        shortlist: int = 50,
        progress: Progress = SILENT,
    ) -> None:
        self._engine = engine
        self._nearest = nearest
        self._shortlist = shortlist
        self._progress = progress

    def select(self, queries: Sequence[Query], k: int) -> list[Selection]:
        """Picks k for each query, the best last, with their gold log-probabilities; see `Selector.select`.

        Args:
            queries: N labelled queries.
            k: Demonstrations for each query.

        Returns:
            N selections; scores are log-probabilities of the gold label behind the one demonstration, nats.

        Raises:
            InvalidExampleError: When a query has no label.
            TooFewExamplesError: When fewer than k are left for a query.
        """
        unlabelled = [query.uid for query in queries if query.label is None]
        if unlabelled:
            raise InvalidExampleError(
                f"query {unlabelled[0]!r} has no label, and the oracle chooses with the gold label",
                expected="labelled queries: the oracle is an upper bound",
                remedy="Label the queries, or choose a method that can answer unlabelled ones.",
            )
        if not k:
            return [Selection((), ()) for _ in queries]
        with self._progress.track("oracle (upper bound)", len(queries)) as advance:
            return best_tried_alone(
                self._nearest, queries, k, size=self._shortlist, ask=self._engine.gold_logprobs, advance=advance
            )
