"""Tests of compare."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest

from selector.errors import TooFewExamplesError, UnknownLabelError, UnknownNameError, UsageError
from selector.evaluation.compare import Comparison, Method, Reference, compare
from selector.inference.engine import InferenceEngine
from selector.ordering.entropy import EntropyOrderer
from selector.pipeline import Pipeline
from selector.strategies.dense import NearestSelector
from selector.strategies.random import RandomSelector
from selector.strategies.searched import BestOfKSelector
from selector.strategies.zero import ZeroShotSelector
from selector.testing import ToyLanguageModel, planted_examples
from selector.types import Example


class _Recorded:
    """A Progress that keeps what it was told."""

    def __init__(self) -> None:
        self.bars: dict[str, list[int]] = {}

    @contextmanager
    def track(self, description: str, total: int) -> Iterator:
        self.bars[description] = [total, 0]

        def advance(steps: int) -> None:
            self.bars[description][1] += steps

        yield advance


@pytest.fixture
def queries() -> list[Example]:
    return planted_examples(12, seed=7, prefix="query")


def _random(engine: InferenceEngine, name: str = "random") -> Method:
    return Method(name, lambda seed: Pipeline(RandomSelector(engine.pool, seed=seed), engine), seeded=True)


def _zero(engine: InferenceEngine) -> Method:
    return Method("zero", lambda seed: Pipeline(ZeroShotSelector(), engine))


def _of(comparison: Comparison, method: str) -> list:
    return [row for row in comparison.rows if row.method == method]


def test_seeds_are_averaged_per_query_before_pairing(engine, queries) -> None:
    """Guards against counting three seeds on one query as three queries, which makes intervals too narrow."""
    comparison = compare(
        engine, queries, methods=[_zero(engine), _random(engine)], shots=2, seeds=(0, 1, 2), baseline="zero"
    )
    rows = _of(comparison, "random")
    assert [row.seed for row in rows] == [0, 1, 2]
    assert len(_of(comparison, "zero")) == 1
    entry = next(entry for entry in comparison.summary if entry.method == "random")
    assert entry.accuracy.estimate == pytest.approx(np.mean([row.accuracy for row in rows]))
    baseline = next(entry for entry in comparison.summary if entry.method == "zero")
    assert baseline.versus is None
    assert entry.versus is not None
    assert entry.versus.delta == pytest.approx(entry.accuracy.estimate - baseline.accuracy.estimate)


def test_outcomes_are_what_the_pipeline_answers(engine, queries) -> None:
    """Guards against outcomes of other queries, and demonstrations in another order than the prompt's."""
    comparison = compare(engine, queries, methods=[_random(engine)], shots=3, baseline="random")
    answers = Pipeline(RandomSelector(engine.pool, seed=0), engine).predict(queries, 3)
    for outcome, query, answer in zip(comparison.rows[0].outcomes, queries, answers, strict=True):
        assert (outcome.uid, outcome.gold, outcome.predicted) == (query.uid, query.label, answer.label)
        assert outcome.demonstrations == tuple(engine.pool[at].uid for at in answer.selection.indices)
        assert outcome.probabilities == answer.probabilities
        assert outcome.correct == (answer.label == query.label)


def test_searching_and_ordering_are_paid_for(engine, encoder, queries) -> None:
    """Guards against a free lunch: what a method asks of the language model before it answers is part of its cost."""
    dev = planted_examples(6, seed=11, prefix="dev")
    nearest = NearestSelector(engine.pool, encoder)
    methods = [
        Method("nearest", lambda seed: Pipeline(nearest, engine)),
        Method("best-of-k", lambda seed: Pipeline(BestOfKSelector(engine, dev, sets=3, seed=seed), engine)),
        Method(
            "ordered", lambda seed: Pipeline(nearest, engine, orderer=EntropyOrderer(engine, dev)), orderer="globale"
        ),
    ]
    comparison = compare(engine, queries, methods=methods, shots=2, baseline="nearest")
    calls = {row.method: row.usage.calls for row in comparison.rows}
    assert calls["nearest"] == len(queries) * 2
    assert calls["best-of-k"] == len(queries) * 2 + 3 * len(dev) * 2 * 2
    assert calls["ordered"] > calls["nearest"]
    assert sum(calls.values()) == engine.lm.usage.calls
    assert _of(comparison, "ordered")[0].orderer == "globale"


def test_references_ask_no_language_model(engine, queries) -> None:
    """Guards against references that look as dear as the methods, or are taken for methods."""
    asked = Reference("majority", lambda own: ["fresh"] * len(own))
    comparison = compare(engine, queries, methods=[], references=[asked], shots=4, baseline="majority")
    assert comparison.rows[0].usage.calls == engine.lm.usage.calls == 0
    assert not comparison.summary[0].uses_lm
    assert comparison.summary[0].accuracy.estimate == 0.5
    assert comparison.rows[0].outcomes[0].demonstrations == ()


def test_summary_is_best_first_and_repeats(queries) -> None:
    """Guards against a table in the order of the arguments, and results that change from run to run."""

    def once() -> list:
        from selector.testing import planted_pool, planted_template

        engine = InferenceEngine(ToyLanguageModel(), planted_template(), planted_pool())
        reference = Reference("gold", lambda own: [str(query.label) for query in own])
        return list(
            compare(
                engine,
                queries,
                methods=[_random(engine)],
                references=[reference],
                shots=2,
                seeds=(0, 1),
                baseline="random",
            ).summary
        )

    first, second = once(), once()
    assert first[0].method == "gold"
    assert [(own.method, own.accuracy, own.versus, own.tokens) for own in first] == [
        (own.method, own.accuracy, own.versus, own.tokens) for own in second
    ]


def test_bars_reach_their_end(engine, queries) -> None:
    """Guards against bars that stop short or run over when a method has several seeds."""
    progress = _Recorded()
    compare(
        engine,
        queries,
        methods=[_random(engine)],
        references=[Reference("constant", lambda own: ["fresh"] * len(own))],
        shots=1,
        seeds=(0, 1),
        baseline="random",
        progress=progress,
    )
    assert len(progress.bars) == 2
    assert all(total == done for total, done in progress.bars.values())


def test_wrong_requests_are_refused_before_any_work(engine, queries) -> None:
    """Guards against an hour of work before a typo shows, and rows of one name being averaged as if they were seeds."""
    methods = [_random(engine)]
    with pytest.raises(UnknownNameError, match="nearst"):
        compare(engine, queries, methods=methods, shots=1, baseline="nearst")
    with pytest.raises(UsageError, match="named 'random'"):
        compare(engine, queries, methods=methods * 2, shots=1, baseline="random")
    for seeds in ((), (1, 1)):
        with pytest.raises(UsageError, match="seeds"):
            compare(engine, queries, methods=methods, shots=1, seeds=seeds, baseline="random")
    with pytest.raises(TooFewExamplesError):
        compare(engine, [], methods=methods, shots=1, baseline="random")
    for label in (None, "lukewarm"):
        with pytest.raises(UnknownLabelError):
            compare(engine, [Example("q", {"text": "so so"}, label)], methods=methods, shots=1, baseline="random")
    assert engine.lm.usage.calls == 0


def test_the_verdict_is_about_contenders_and_its_p_values_stand_in_the_summary(engine, queries) -> None:
    """Guards an upper bound that is recommended, and a table whose p-values say other than the verdict."""
    methods = [_zero(engine), _random(engine), replace(_random(engine, "oracle"), upper_bound=True)]
    comparison = compare(engine, queries, methods=methods, shots=2, baseline="zero")
    assert comparison.verdict is not None
    assert comparison.verdict.upper_bounds == ("oracle",)
    assert {own.method for own in comparison.verdict.standings} == {"random", "zero"}
    by_name = {entry.method: entry for entry in comparison.summary}
    standing = next(own for own in comparison.verdict.standings if own.method == "random")
    assert by_name["random"].versus == standing.versus_baseline
    assert by_name["oracle"].versus is not None
    with pytest.raises(UsageError, match="upper bound"):
        compare(engine, queries, methods=methods, shots=2, baseline="oracle")
