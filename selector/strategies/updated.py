"""How a selector follows a pool that has changed, without embedding again what it knows."""

from __future__ import annotations

from collections.abc import Callable

from selector.data.pool import Pool
from selector.inference.engine import InferenceEngine
from selector.strategies.base import Selector
from selector.strategies.corpus import CorpusSelector
from selector.strategies.dense import NearestSelector
from selector.strategies.learned import LearnedSelector


def updated_selector(former: Selector, pool: Pool, engine: Callable[[], InferenceEngine]) -> Selector | None:
    """Makes a selector over a pool that has changed, with the network, encoder and index of the former one.

    Args:
        former: Over the pool as it was; not to be used afterwards.
        pool: The pool as it is.
        engine: Gives the engine over it; called where a policy needs it.

    Returns:
        The selector; None where it has to be built anew, with an encoder that remembers what it has embedded.
    """
    if isinstance(former, LearnedSelector):
        manifest = former.artifact.manifest
        needed = former.artifact.asks_language_model or manifest.token_budget is not None
        asked = engine() if needed else None
        return LearnedSelector(
            former.artifact,
            pool,
            former.encoder,
            engine=asked,
            beams=former.beams,
            shortlist_size=former.shortlist_size,
        )
    if isinstance(former, CorpusSelector):
        asked = engine() if former.artifact.needs_engine else None
        return CorpusSelector(former.artifact, pool, former.encoder, engine=asked, task_queries=former.task_queries)
    if isinstance(former, NearestSelector):
        return NearestSelector(
            pool,
            former.encoder,
            labelled_demonstrations=former.labelled_demonstrations,
            query_encoder=former.query_encoder,
            index=former.index,
        )
    return None
