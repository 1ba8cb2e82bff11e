"""From a method's name, or the folder of a learned one, to its selector."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from selector.errors import UnknownNameError
from selector.inference.engine import InferenceEngine
from selector.learned.artifact import MANIFEST_FILE
from selector.progress import SILENT, Progress
from selector.retrieval.encoder import TextEncoder
from selector.strategies.base import Selector
from selector.strategies.dense import NearestSelector
from selector.strategies.determinantal import DPPSelector
from selector.strategies.diverse import MMRSelector
from selector.strategies.exported import load_policy
from selector.strategies.lexical import BM25Selector
from selector.strategies.random import RandomSelector
from selector.strategies.retriever import CARD_FILE, RetrieverSelector
from selector.strategies.searched import BestOfKSelector
from selector.strategies.zero import ZeroShotSelector
from selector.types import Example

METHODS: Final = ("zero", "random", "bm25", "nearest", "mmr", "dpp", "best-of-k")
SEEDED_METHODS: Final = ("random", "best-of-k")
DPP_OVER: Final = "dpp:"  # and the folder of a retriever


def build_selector(
    method: str,
    *,
    engine: InferenceEngine,
    encoder: TextEncoder,
    dev: Sequence[Example],
    seed: int = 0,
    progress: Progress = SILENT,
) -> Selector:
    """Builds a selector over the engine's pool.

    Args:
        method: One of `METHODS`, the folder of a policy artifact or a retriever, or dpp:FOLDER, which picks sets with a
            retriever.
        engine: The engine; its pool is chosen from.
        encoder: For the methods that compare embeddings.
        dev: For the methods that search on dev queries.
        seed: For the methods with random choices.
        progress: For the methods that take long.

    Returns:
        The selector.

    Raises:
        UnknownNameError: When the name is neither a method nor such a folder.
        ArtifactError: When a folder's content is missing or damaged.
    """
    pool = engine.pool
    builders: dict[str, Callable[[], Selector]] = {
        "zero": ZeroShotSelector,
        "random": lambda: RandomSelector(pool, seed=seed),
        "bm25": lambda: BM25Selector(pool),
        "nearest": lambda: NearestSelector(pool, encoder),
        "mmr": lambda: MMRSelector(pool, encoder),
        "dpp": lambda: DPPSelector(NearestSelector(pool, encoder)),
        "best-of-k": lambda: BestOfKSelector(engine, dev, seed=seed, progress=progress),
    }
    if method in builders:
        return builders[method]()
    if method.startswith(DPP_OVER):
        return DPPSelector(RetrieverSelector.load(method.removeprefix(DPP_OVER), pool))
    folder = Path(method)
    if (folder / CARD_FILE).is_file():
        return RetrieverSelector.load(folder, pool)
    if (folder / MANIFEST_FILE).is_file():
        return load_policy(folder, pool, engine=lambda: engine)
    raise UnknownNameError(
        "method", method, known=(*METHODS, f"{DPP_OVER}FOLDER", "the folder of an artifact or a retriever")
    )
