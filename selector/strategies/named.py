"""From a method's name, or the folder of a learned one, to its selector."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final, TypedDict

from selector.data.pool import Pool
from selector.data.task import Task
from selector.errors import UnknownNameError
from selector.inference.engine import InferenceEngine
from selector.learned.artifact import MANIFEST_FILE
from selector.progress import SILENT, Progress
from selector.retrieval.encoder import TextEncoder
from selector.strategies.balanced import BalancedSelector
from selector.strategies.base import Selector
from selector.strategies.clustered import KMeansSelector
from selector.strategies.conditional_entropy import ConESelector
from selector.strategies.coverage import BSRSelector
from selector.strategies.dense import NearestSelector
from selector.strategies.description_length import MDLSelector
from selector.strategies.determinantal import DPPSelector
from selector.strategies.determinantal_sampling import DPPSampleSelector
from selector.strategies.diverse import MMRSelector
from selector.strategies.exported import load_learned, queries_of_another_task
from selector.strategies.fixed import FixedSelector
from selector.strategies.influence import InfluenceSelector
from selector.strategies.lexical import BM25Selector
from selector.strategies.oracle import OracleSelector
from selector.strategies.random import RandomSelector
from selector.strategies.retriever import CARD_FILE, RetrieverSelector
from selector.strategies.searched import BestOfKSelector, GreedySelector
from selector.strategies.uncertain import MaxEntropySelector
from selector.strategies.votek import FastVoteKSelector, VoteKSelector
from selector.strategies.zero import ZeroShotSelector
from selector.types import Example


class SearchOptions(TypedDict):
    """Keyword arguments of every selector that searches on dev queries."""

    tokens: int | None
    seed: int
    progress: Progress


@dataclass(frozen=True)
class Ingredients:
    """What selectors are made of.

    Attributes:
        engine: The engine; its pool is chosen from.
        encoder: For the methods that compare embeddings.
        dev: For the methods that search on dev queries.
        seed: For the methods with random choices.
        progress: For the methods that take long.
        search_tokens: Bounds the methods that search on dev queries, tokens; None leaves them their own bounds.
        found: The nearest by the encoder, where somebody has made it already.
    """

    engine: InferenceEngine
    encoder: TextEncoder
    dev: Sequence[Example]
    seed: int
    progress: Progress
    search_tokens: int | None = None
    found: NearestSelector | None = None

    @property
    def pool(self) -> Pool:
        """What is chosen from."""
        return self.engine.pool

    @property
    def nearest(self) -> NearestSelector:
        """Finds the nearest by the encoder."""
        return NearestSelector(self.pool, self.encoder) if self.found is None else self.found

    @property
    def search(self) -> SearchOptions:
        """What the methods that search on dev queries have in common."""
        return {"tokens": self.search_tokens, "seed": self.seed, "progress": self.progress}


Builders = Mapping[str, Callable[[Ingredients], Selector]]

TEXT_METHODS: Final[Builders] = MappingProxyType(
    {
        "zero": lambda _: ZeroShotSelector(),
        "random": lambda given: RandomSelector(given.pool, seed=given.seed),
        "balanced": lambda given: BalancedSelector(given.pool, seed=given.seed),
        "bm25": lambda given: BM25Selector(given.pool),
    }
)
EMBEDDING_METHODS: Final[Builders] = MappingProxyType(
    {
        "nearest": lambda given: given.nearest,
        "mmr": lambda given: MMRSelector(given.pool, given.encoder),
        "dpp": lambda given: DPPSelector(given.nearest),
        "dpp-sample": lambda given: DPPSampleSelector(given.nearest, seed=given.seed),
        "bsr": lambda given: BSRSelector(given.pool, given.encoder),
        "kmeans": lambda given: KMeansSelector(given.pool, given.encoder, seed=given.seed),
        "fast-votek": lambda given: FastVoteKSelector(given.pool, given.encoder),
    }
)
LM_METHODS: Final[Builders] = MappingProxyType(
    {
        "votek": lambda given: VoteKSelector(given.engine, given.encoder, progress=given.progress),
        "cone": lambda given: ConESelector(given.engine, given.nearest, progress=given.progress),
        "mdl": lambda given: MDLSelector(given.engine, given.nearest, seed=given.seed, progress=given.progress),
        "max-entropy": lambda given: MaxEntropySelector(given.engine, progress=given.progress),
        "oracle": lambda given: OracleSelector(given.engine, given.nearest, progress=given.progress),
    }
)
DEV_METHODS: Final[Builders] = MappingProxyType(
    {
        "best-of-k": lambda given: BestOfKSelector(given.engine, given.dev, **given.search),
        "greedy": lambda given: GreedySelector(given.engine, given.dev, **given.search),
        "influence": lambda given: InfluenceSelector(given.engine, given.dev, **given.search),
    }
)
BUILDERS: Final[Builders] = MappingProxyType({**TEXT_METHODS, **EMBEDDING_METHODS, **LM_METHODS, **DEV_METHODS})
METHODS: Final = tuple(BUILDERS)
SEEDED_METHODS: Final = ("random", "balanced", "dpp-sample", "kmeans", "mdl", "best-of-k", "greedy", "influence")
SEARCHED_METHODS: Final = tuple(DEV_METHODS)  # can be given a budget
SHOTLESS_METHODS: Final = ("zero",)  # answer alike whatever the number of shots
UPPER_BOUNDS: Final = ("oracle",)  # read the gold labels of the queries that they choose for
DPP_OVER: Final = "dpp:"  # and the folder of a retriever
FIXED: Final = "fixed:"  # and uids of the pool in prompt order
BETWEEN_UIDS: Final = re.compile(r"\s*[,;]\s*")  # a semicolon where lists of methods are cut at commas


def build_selector(
    method: str,
    *,
    engine: InferenceEngine,
    encoder: TextEncoder,
    dev: Sequence[Example],
    seed: int = 0,
    search_tokens: int | None = None,
    nearest: NearestSelector | None = None,
    force: bool = False,
    task: Task | None = None,
    progress: Progress = SILENT,
) -> Selector:
    """Builds a selector over the engine's pool.

    Args:
        method: One of `METHODS`, the folder of a policy artifact or a retriever, dpp:FOLDER, which picks sets with a
            retriever, or fixed:UID,UID (or with semicolons), which shows the examples named.
        engine: The engine; its pool is chosen from.
        encoder: For the methods that compare embeddings.
        dev: For the methods that search on dev queries.
        seed: For the methods with random choices.
        search_tokens: What a method that searches on dev queries may ask of the language model, tokens, instead of its
            own bounds.
        nearest: Finds the pool's nearest by the encoder, where that was made already: the pool is then not embedded
            again.
        force: Whether a policy made for another pool, encoder, template or language model is taken.
        task: The task; its queries stand for it where a policy of one prompt for a task was made for another one.
        progress: For the methods that take long.

    Returns:
        The selector.

    Raises:
        UnknownNameError: When the name is neither a method nor such a folder.
        ArtifactError: When a folder's content is missing or damaged.
        ArtifactMismatchError: When an artifact was made for another pool, or asks the engine and was made for another
            template or language model, and `force` is off.
        UsageError: When the pool has no example of a uid named, or the encoder does not suit the method.
        TooFewExamplesError: When a method searches on dev queries and there are none.
    """
    pool = engine.pool
    if method in BUILDERS:
        return BUILDERS[method](Ingredients(engine, encoder, dev, seed, progress, search_tokens, nearest))
    if method.startswith(FIXED):
        return FixedSelector(pool, [uid for uid in BETWEEN_UIDS.split(method.removeprefix(FIXED).strip()) if uid])
    if method.startswith(DPP_OVER):
        return DPPSelector(RetrieverSelector.load(method.removeprefix(DPP_OVER), pool))
    folder = Path(method)
    if (folder / CARD_FILE).is_file() or (folder / MANIFEST_FILE).is_file():
        others = queries_of_another_task(folder, task) if force and task is not None else ()
        return load_learned(folder, pool, force=force, engine=lambda: engine, task_queries=others)
    raise UnknownNameError(
        "method",
        method,
        known=(*METHODS, f"{FIXED}UID,UID", f"{DPP_OVER}FOLDER", "the folder of an artifact or a retriever"),
    )
