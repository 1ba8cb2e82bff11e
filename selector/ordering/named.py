"""From an orderer's name to the orderer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from selector.errors import UnknownNameError
from selector.inference.engine import InferenceEngine
from selector.ordering.base import Orderer
from selector.ordering.best_on_dev import BestOnDevOrderer
from selector.ordering.entropy import EntropyConfig, EntropyOrderer
from selector.ordering.mdl import MDLOrderer
from selector.ordering.permutations import PermutationConfig
from selector.ordering.similarity import GivenOrder, ReverseOrder, SimilarityOrderer
from selector.progress import SILENT, Progress
from selector.retrieval.encoder import TextEncoder
from selector.types import Example

ORDERERS: Final = (
    "given",
    "reverse",
    "nearest-last",
    "nearest-first",
    "globale",
    "locale",
    "globale-calibrated",
    "locale-calibrated",
    "mdl",
    "best-on-dev",
)
ENTROPY_ORDERERS: Final = ORDERERS[4:8]  # rank orders by probes
LM_ORDERERS: Final = ORDERERS[4:]  # try orders by asking the language model


def build_orderer(
    name: str,
    *,
    engine: InferenceEngine,
    encoder: TextEncoder,
    probes: Sequence[Example] | None = None,
    dev: Sequence[Example] = (),
    permutations: int = 24,
    seed: int = 0,
    progress: Progress = SILENT,
) -> Orderer:
    """Builds an orderer over the engine's pool.

    Args:
        name: One of `ORDERERS`.
        engine: Scores probes and queries for the orders that ask the language model.
        encoder: For the orders by similarity.
        probes: Unlabelled inputs for the entropy orders; None lets the language model write them.
        dev: Labelled queries for the order that is best on them.
        permutations: How many orders are tried by those that ask the language model.
        seed: Seeds samples.
        progress: Shows how many sets or queries are done.

    Returns:
        The orderer.

    Raises:
        UnknownNameError: When there is none of that name.
        TooFewExamplesError: When the order that is best on dev is asked for without dev queries.
    """
    tried = PermutationConfig(permutations=permutations, seed=seed)

    def by_entropy(statistic: str, calibration: str = "") -> Orderer:
        config = EntropyConfig(statistic, permutations=permutations, seed=seed, calibration=calibration)
        return EntropyOrderer(engine, probes, config=config, progress=progress)

    builders: dict[str, Callable[[], Orderer]] = {
        "given": GivenOrder,
        "reverse": ReverseOrder,
        "nearest-last": lambda: SimilarityOrderer(engine.pool, encoder),
        "nearest-first": lambda: SimilarityOrderer(engine.pool, encoder, nearest_last=False),
        "globale": lambda: by_entropy("globale"),
        "locale": lambda: by_entropy("locale"),
        "globale-calibrated": lambda: by_entropy("globale", "contextual"),
        "locale-calibrated": lambda: by_entropy("locale", "contextual"),
        "mdl": lambda: MDLOrderer(engine, config=tried, progress=progress),
        "best-on-dev": lambda: BestOnDevOrderer(engine, dev, config=tried, progress=progress),
    }
    if name not in builders:
        raise UnknownNameError("orderer", name, known=ORDERERS)
    return builders[name]()
