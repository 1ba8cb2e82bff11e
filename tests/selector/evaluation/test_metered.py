"""Tests of metered."""

from __future__ import annotations

from selector.evaluation.metered import PHASES, PhaseUsage, answer_metered
from selector.inference.engine import InferenceEngine
from selector.ordering.entropy import EntropyOrderer
from selector.pipeline import Pipeline
from selector.strategies.searched import BestOfKSelector
from selector.testing import planted_examples


def test_each_phase_is_paid_for_by_itself(engine: InferenceEngine, queries) -> None:
    """Guards against a search whose price is hidden in the answers, or an orderer's in the search."""
    dev, probes = planted_examples(6, seed=11, prefix="dev"), planted_examples(3, seed=12, prefix="probe")

    def build() -> Pipeline:
        orderer = EntropyOrderer(engine, probes)
        return Pipeline(BestOfKSelector(engine, dev, sets=3), engine, orderer=orderer)

    answers = answer_metered(build, queries, 2, lm=engine.lm)
    phases, plain = answers.phases, build()
    assert phases.answering.calls == len(queries) * 2
    assert phases.selecting.calls == 3 * len(dev) * 2 * 2
    assert phases.ordering.calls > 0
    assert phases.total == engine.lm.usage
    assert list(answers.predictions) == plain.predict(queries, 2)


def test_what_building_asks_is_part_of_selecting(engine: InferenceEngine, queries) -> None:
    """Guards against methods that ask the language model when they are made, for nothing."""

    def build() -> Pipeline:
        engine.lm.logprobs(["a"], [" b"])
        return Pipeline(BestOfKSelector(engine, queries, sets=1), engine)

    answers = answer_metered(build, queries, 0, lm=engine.lm)
    assert [getattr(answers.phases, name).calls for name in PHASES] == [1, 0, len(queries) * 2]
    assert PhaseUsage().total.calls == 0
