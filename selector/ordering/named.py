"""From an orderer's name to the orderer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from selector.errors import UnknownNameError
from selector.inference.engine import InferenceEngine
from selector.ordering.base import Orderer
from selector.ordering.entropy import EntropyConfig, EntropyOrderer
from selector.ordering.similarity import GivenOrder, SimilarityOrderer
from selector.progress import SILENT, Progress
from selector.retrieval.encoder import TextEncoder
from selector.types import Example

ORDERERS: Final = ("given", "nearest-last", "nearest-first", "globale", "locale")


def build_orderer(
    name: str,
    *,
    engine: InferenceEngine,
    encoder: TextEncoder,
    probes: Sequence[Example] | None = None,
    permutations: int = 24,
    seed: int = 0,
    progress: Progress = SILENT,
) -> Orderer:
    """Builds an orderer over the engine's pool.

    Args:
        name: One of `ORDERERS`.
        engine: Scores probes for the entropy orders.
        encoder: For the orders by similarity.
        probes: Unlabelled inputs for the entropy orders; None lets the language model write them.
        permutations: How many orders the entropy orders try.
        seed: Seeds samples.
        progress: Shows how many sets are done.

    Returns:
        The orderer.

    Raises:
        UnknownNameError: When there is none of that name.
    """

    def by_entropy(statistic: str) -> Orderer:
        config = EntropyConfig(statistic=statistic, permutations=permutations, seed=seed)
        return EntropyOrderer(engine, probes, config=config, progress=progress)

    builders: dict[str, Callable[[], Orderer]] = {
        "given": GivenOrder,
        "nearest-last": lambda: SimilarityOrderer(engine.pool, encoder),
        "nearest-first": lambda: SimilarityOrderer(engine.pool, encoder, nearest_last=False),
        "globale": lambda: by_entropy("globale"),
        "locale": lambda: by_entropy("locale"),
    }
    if name not in builders:
        raise UnknownNameError("orderer", name, known=ORDERERS)
    return builders[name]()
