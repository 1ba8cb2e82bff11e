"""Candidate recall for mining: which members of the pool are worth a language model's time.

Selectors recall by the query's input; BM25 on the gold output, as published for EPR, is here because it must never
serve at inference. This module knows nothing of scores.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from selector.data.pool import Pool
from selector.errors import UnknownNameError
from selector.retrieval.encoder import TextEncoder
from selector.strategies.base import Selector
from selector.strategies.dense import NearestSelector
from selector.strategies.lexical import BM25Selector
from selector.strategies.random import RandomSelector
from selector.strategies.retriever import CARD_FILE, RetrieverSelector
from selector.types import Example, Query, Selection

RECALLS: Final = ("nearest", "random", "bm25", "bm25-output")


class GoldOutputRecall:
    """Ranks the pool by BM25 of its outputs for the query's gold output (Rubin, Herzig & Berant, 2022, section 3.1).

    Only for labelled training queries. Of members with one and the same output the first in the pool come first, so
    for a task with few labels another recall serves better.

    Args:
        pool: The pool.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._outputs = BM25Selector(Pool(Example(row.uid, {"output": str(row.label)}, row.label) for row in pool))

    def select(self, queries: Sequence[Query], k: int) -> list[Selection]:
        """Ranks the pool for each query; see `Selector.select`.

        Args:
            queries: N labelled queries.
            k: How many for each.

        Returns:
            N selections, the best last.

        Raises:
            TooFewExamplesError: When fewer than k are left for a query.
        """
        return [self._outputs.ranked(str(query.label), self._pool, query, k) for query in queries]


def build_recall(names: Sequence[str], *, pool: Pool, encoder: TextEncoder, seed: int) -> tuple[Selector, ...]:
    """Builds what recalls candidates.

    Args:
        names: Of `RECALLS`, or folders of trained retrievers (iterated mining).
        pool: The pool.
        encoder: Of "nearest".
        seed: Of "random".

    Returns:
        A selector for each name.

    Raises:
        UnknownNameError: When a name is neither.
        ArtifactError: When a retriever is damaged.
    """
    builders: dict[str, Callable[[], Selector]] = {
        "nearest": lambda: NearestSelector(pool, encoder),
        "random": lambda: RandomSelector(pool, seed=seed),
        "bm25": lambda: BM25Selector(pool),
        "bm25-output": lambda: GoldOutputRecall(pool),
    }
    built = []
    for name in names:
        if name in builders:
            built.append(builders[name]())
        elif (Path(name) / CARD_FILE).is_file():
            built.append(RetrieverSelector.load(name, pool))
        else:
            raise UnknownNameError("recall", name, known=(*RECALLS, "the folder of a retriever"))
    return tuple(built)
