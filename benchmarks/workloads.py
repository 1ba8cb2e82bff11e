"""Five shapes of work that the stages of the project send to the inference engine, on TREC questions.

The questions are those of the real data set where it lies beside the checkout, else made up from words with the same
labels and lengths. Each workload is a list of calls, as its stage would make them.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from selector.data.pool import Pool
from selector.prompting.template import PromptTemplate
from selector.strategies.lexical import BM25Selector
from selector.types import Example, Selection

TREC = Path(__file__).resolve().parents[2] / "shared" / "data" / "trec6" / "train.jsonl"
LABELS = ("abbreviation", "description", "entity", "human", "location", "number")
POOL, SHOTS = 1000, 4
MIX = (
    "who",
    "what",
    "where",
    "how",
    "many",
    "name",
    "city",
    "river",
    "stand",
    "mean",
    "first",
    "president",
    "much",
    "is",
    "the",
    "of",
)


@dataclass(frozen=True)
class Call:
    """One call of the engine.

    Attributes:
        queries: N queries.
        selections: N selections from the pool.
    """

    queries: Sequence[Example]
    selections: Sequence[Selection]


@dataclass(frozen=True)
class Corpus:
    """What all workloads draw from.

    Attributes:
        pool: The candidates.
        queries: Questions outside the pool.
        template: One line for the question, one for its type.
        source: Where the questions come from.
    """

    pool: Pool
    queries: tuple[Example, ...]
    template: PromptTemplate
    source: str


def trec_corpus(*, seed: int = 0) -> Corpus:
    """Draws a pool of 1,000 questions and 400 queries.

    Args:
        seed: Seeds the draw.

    Returns:
        The corpus.
    """
    rng = np.random.default_rng(seed)
    if TREC.is_file():
        rows = [json.loads(line) for line in TREC.read_text(encoding="utf-8").splitlines()]
        texts = {row["text"]: row["label"] for row in rows}  # a question occurs once
        source = "trec6"
    else:
        lengths = rng.integers(5, 18, 3 * POOL)
        texts = {" ".join(rng.choice(MIX, length)) + " ?": LABELS[int(rng.integers(6))] for length in lengths}
        source = "made up"
    pairs = list(texts.items())
    drawn = [pairs[int(place)] for place in rng.permutation(len(pairs))[: POOL + 400]]
    examples = [Example(f"q{number}", {"text": text}, label) for number, (text, label) in enumerate(drawn)]
    template = PromptTemplate(
        template="Question: {text}\nType:{label}", verbalizers={label: f" {label}" for label in LABELS}
    )
    return Corpus(Pool(examples[:POOL]), tuple(examples[POOL:]), template, source)


def shared_demonstrations(corpus: Corpus, *, size: int = 200) -> list[Call]:
    """(a) One set of demonstrations before all queries, as when a prompt is judged."""
    chosen = Selection.of(*range(SHOTS))
    return [Call(corpus.queries[:size], [chosen] * size)]


def own_demonstrations(corpus: Corpus, *, size: int = 200) -> list[Call]:
    """(b) Demonstrations of its own before each query: nothing is shared but what stands before the labels."""
    rng = np.random.default_rng(1)
    sets = [Selection.of(*map(int, rng.choice(POOL, SHOTS, replace=False))) for _ in range(size)]
    return [Call(corpus.queries[:size], sets)]


def mining(corpus: Corpus, *, size: int = 50, candidates: int = 30) -> list[Call]:
    """(c) EPR mining: candidates recalled by BM25 before each query, one at a time."""
    queries = corpus.queries[:size]
    recalled = BM25Selector(corpus.pool).select(queries, candidates)
    pairs = [(query, index) for query, found in zip(queries, recalled, strict=True) for index in found.indices]
    return [Call([query for query, _ in pairs], [Selection.of(index) for _, index in pairs])]


def permutations(corpus: Corpus, *, size: int = 50) -> list[Call]:
    """(d) Entropy ordering: all orders of four demonstrations before each probe."""
    orders = list(itertools.permutations(range(SHOTS)))
    pairs = [(query, order) for order in orders for query in corpus.queries[:size]]
    return [Call([query for query, _ in pairs], [Selection.of(*order) for _, order in pairs])]


def episodes(corpus: Corpus, *, size: int = 16) -> list[Call]:
    """(e) Parallel episodes: at each step every query's prompt grows by a demonstration of its own."""
    rng = np.random.default_rng(2)
    sets = [list(map(int, rng.choice(POOL, SHOTS, replace=False))) for _ in range(size)]
    return [Call(corpus.queries[:size], [Selection.of(*chosen[:step]) for chosen in sets]) for step in range(SHOTS + 1)]


WORKLOADS: Mapping[str, Callable[..., list[Call]]] = {
    "a shared demonstrations": shared_demonstrations,
    "b own demonstrations": own_demonstrations,
    "c one-shot mining": mining,
    "d permutations": permutations,
    "e parallel episodes": episodes,
}
