"""A small comparison with hostile names and texts, and a wide one with planted answers."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from selector.data.pool import Pool
from selector.evaluation.compare import Comparison, Method, Reference, compare
from selector.inference.engine import InferenceEngine
from selector.lm.base import CompletionScore
from selector.pipeline import Pipeline
from selector.prompting.template import PromptTemplate
from selector.strategies.random import RandomSelector
from selector.strategies.zero import ZeroShotSelector
from selector.testing import ToyLanguageModel, planted_examples, planted_template
from selector.types import Example, Selection

HOSTILE = "<script>alert('gotcha')</script> $title {text} & \"quotes\" ]]> <img src=x onerror=alert(1)>"


@pytest.fixture
def hostile_engine() -> InferenceEngine:
    """An engine over a pool in which every text is hostile."""
    pool = Pool(
        Example(f'uid {number}, "<b>"', {"text": f"{HOSTILE} {number}"}, example.label)
        for number, example in enumerate(planted_examples(8))
    )
    return InferenceEngine(ToyLanguageModel(), planted_template(), pool)


@pytest.fixture
def hostile_queries() -> list[Example]:
    """Queries whose uids and texts are hostile."""
    return [
        Example(f"{HOSTILE} {number}", {"text": f"query {HOSTILE}\nsecond line"}, example.label)
        for number, example in enumerate(planted_examples(30, prefix="query"))
    ]


@pytest.fixture
def comparison(hostile_engine: InferenceEngine, hostile_queries: list[Example]) -> Comparison:
    """Random over two seeds, zero shots, and a reference with a hostile name."""
    pool, engine = hostile_engine.pool, hostile_engine
    return compare(
        engine,
        hostile_queries,
        methods=[
            Method("random", lambda seed: Pipeline(RandomSelector(pool, seed=seed), engine), seeded=True),
            Method("zero", lambda seed: Pipeline(ZeroShotSelector(), engine)),
        ],
        references=[Reference("[bold]<b>gold", lambda own: [str(query.label) for query in own])],
        shots=2,
        seeds=(0, 1),
        baseline="zero",
    )


class GuessingLanguageModel(ToyLanguageModel):
    """Prefers labels that stand in the prompt, and errs by chance: fast, and better with better demonstrations."""

    def _score(self, prompt: str, completion: str) -> CompletionScore:
        digest = hashlib.sha256(f"{prompt[-160:]}|{completion}".encode()).digest()
        chance = int.from_bytes(digest[:4], "big") / 2**32
        words = prompt.split()
        return CompletionScore(1.2 * words.count(completion.strip()) ** 0.5 + 2.5 * chance - 9.0, 1, len(words))


class SkilledSelector:
    """Chooses demonstrations of the query's own label with a fixed probability."""

    def __init__(self, pool: Pool, skill: float, *, seed: int = 0) -> None:
        self._pool, self._skill, self._seed = pool, skill, seed

    def select(self, queries: Sequence[Example], k: int) -> list[Selection]:
        rng = np.random.default_rng([self._seed, k])
        selections = []
        for query in queries:
            own = np.array([self._skill if example.label == query.label else 0.0 for example in self._pool])
            chances = own / max(1.0, own.sum() / max(self._skill, 1e-9)) + (1 - self._skill) / len(self._pool)
            chosen = rng.choice(len(self._pool), size=k, replace=False, p=chances / chances.sum())
            selections.append(Selection.of(*map(int, chosen)))
        return selections


SKILLS = {
    "balanced": 0.08,
    "bm25": 0.3,
    "nearest": 0.42,
    "mmr": 0.36,
    "dpp": 0.33,
    "votek": 0.12,
    "cone": 0.5,
    "best-of-k": 0.2,
    "retriever-agnews-smollm2": 0.55,
}
TOPICS = ("world", "sports", "business", "science", "health")


@pytest.fixture(scope="session")
def planted_comparisons() -> Callable[..., tuple[list[Comparison], Pool, list[Example]]]:
    """Thirteen methods on planted news, for any numbers of shots and labels."""

    def make(
        numbers: Sequence[int], *, labels: Sequence[str] = TOPICS, count: int = 60
    ) -> tuple[list[Comparison], Pool, list[Example]]:
        def news(kind: str, many: int) -> list[Example]:
            return [
                Example(
                    f"{kind}-{at}",
                    {"text": f"{kind} report {at} tells about {at % 7} events"},
                    labels[at % len(labels)],
                )
                for at in range(many)
            ]

        pool, queries = Pool(news("archive", max(80, 3 * len(labels)))), news("today's", count)
        template = PromptTemplate(template="{text}\nTopic:{label}", verbalizers={own: f" {own}" for own in labels})
        engine = InferenceEngine(GuessingLanguageModel(), template, pool)

        def skilled(skill: float) -> Callable[[int], Pipeline]:
            return lambda seed: Pipeline(SkilledSelector(pool, skill, seed=seed), engine)

        methods = [Method(name, skilled(skill)) for name, skill in SKILLS.items()]
        methods.append(Method("random", skilled(0.0), seeded=True))
        methods.append(Method("zero", lambda _: Pipeline(ZeroShotSelector(), engine)))
        methods.append(Method("oracle", skilled(0.9), upper_bound=True))
        references = [Reference("majority", lambda own: [labels[0]] * len(own))]
        comparisons = [
            compare(
                engine,
                queries,
                methods=methods,
                references=references,
                shots=shots,
                seeds=(0, 1),
                baseline="random",
            )
            for shots in numbers
        ]
        return comparisons, pool, queries

    return make
