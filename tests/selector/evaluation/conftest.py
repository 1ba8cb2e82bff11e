"""A small comparison with hostile names and texts."""

from __future__ import annotations

import pytest

from selector.data.pool import Pool
from selector.evaluation.compare import Comparison, Method, Reference, compare
from selector.inference.engine import InferenceEngine
from selector.pipeline import Pipeline
from selector.strategies.random import RandomSelector
from selector.strategies.zero import ZeroShotSelector
from selector.testing import ToyLanguageModel, planted_examples, planted_template
from selector.types import Example

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
