"""TopK+ConE: of the nearest, those behind which the query surprises the language model least (Peng et al., 2024).

The conditional entropy of a query given a demonstration is estimated by the cross-entropy of the query's text behind
it. No label of the query is looked at, and none is predicted. Each candidate is tried alone; the best stands last.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from selector.errors import ServerCapabilityError, UsageError
from selector.inference.engine import InferenceEngine
from selector.lm.base import gives_exact_scores
from selector.progress import SILENT, Progress
from selector.strategies.dense import NearestSelector
from selector.strategies.judging import Numbers, best_tried_alone
from selector.types import Query, Selection


def query_logprobs(engine: InferenceEngine, queries: Sequence[Query], selections: Sequence[Selection]) -> Numbers:
    """Gives the log-probability of the text of queries, up to where their labels stand, behind demonstrations.

    Args:
        engine: Its language model and template.
        queries: N queries; labels are not looked at.
        selections: N selections; demonstrations that do not fit are dropped, as when the query is answered.

    Returns:
        (N,) nats: less the cross-entropy, higher is better.

    Raises:
        UsageError: When the template puts nothing before the label.
    """
    prompts, texts = [], []
    for query, fitted in zip(queries, engine.fit(queries, selections), strict=True):
        prompts.append(engine.template.context([engine.pool[index] for index in fitted.indices]))
        texts.append(engine.template.query_text(query))
    if "" in texts:
        raise UsageError(
            f"template {engine.template.template!r} puts nothing before the label",
            expected="input fields before {label}, whose conditional entropy can be measured",
            remedy="Correct [prompt] template, or choose another method.",
        )
    return np.array([result.logprob for result in engine.lm.logprobs(prompts, texts)])


class ConESelector:
    """Picks, from the nearest, the demonstrations given which a query's conditional entropy is lowest.

    Args:
        engine: Its language model is asked; its pool is the pool.
        nearest: Finds the nearest.
        shortlist: How many nearest examples are tried, or k when that is more.
        progress: Shows how many queries are done.

    Raises:
        ServerCapabilityError: When the model's scores may be bounds.
    """

    def __init__(
        self,
        engine: InferenceEngine,
        nearest: NearestSelector,
        *,
        shortlist: int = 30,
        progress: Progress = SILENT,
    ) -> None:
        if not gives_exact_scores(engine.lm):
            raise ServerCapabilityError(
                "conditional entropy is asked of a server whose scores may be bounds",
                expected="a server with echo or prompt_logprobs",
                remedy="Choose another method, use another server, or load the model here.",
            )
        self._engine = engine
        self._nearest = nearest
        self._shortlist = shortlist
        self._progress = progress

    def select(self, queries: Sequence[Query], k: int) -> list[Selection]:
        """Picks k for each query; see `Selector.select`."""
        if not k:
            return [Selection((), ()) for _ in queries]
        with self._progress.track("conditional entropy", len(queries)) as advance:
            return best_tried_alone(self._nearest, queries, k, size=self._shortlist, ask=self._asked, advance=advance)

    def _asked(self, queries: Sequence[Query], selections: Sequence[Selection]) -> Numbers:
        return query_logprobs(self._engine, queries, selections)
