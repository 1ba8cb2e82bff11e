"""Tests of pipeline."""

from selector.inference.engine import InferenceEngine
from selector.ordering.base import permuted
from selector.pipeline import Pipeline
from selector.strategies.random import RandomSelector
from selector.strategies.zero import ZeroShotSelector


class _Reversed:
    """Turns every selection around."""

    def order(self, queries, selections):
        return [permuted(one, range(len(one.indices))[::-1]) for one in selections]


def test_orderer_comes_behind_selector(engine: InferenceEngine, queries) -> None:
    """Guards against answering with the order that the selector gave."""
    selector = RandomSelector(engine.pool, seed=3)
    plain = Pipeline(selector, engine).select(queries, 4)
    turned = Pipeline(selector, engine, orderer=_Reversed())
    assert [one.indices[::-1] for one in plain] == [one.indices for one in turned.select(queries, 4)]
    assert [answer.selection for answer in turned.predict(queries, 4)] == turned.select(queries, 4)


def test_predicts_what_the_engine_predicts(engine: InferenceEngine, queries) -> None:
    """Guards against a second truth beside the engine, and against progress that counts queries twice."""
    steps: list[int] = []
    pipeline = Pipeline(ZeroShotSelector(), engine)
    answers = pipeline.predict(queries, 0, advance=steps.append)
    assert answers == engine.predict(queries, pipeline.select(queries, 0))
    assert sum(steps) == len(queries)


def test_no_queries_no_answers(engine: InferenceEngine) -> None:
    """Guards against a crash on an empty batch."""
    assert Pipeline(RandomSelector(engine.pool), engine).predict([], 4) == []
