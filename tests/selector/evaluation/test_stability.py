"""Tests of the stability report: its numbers by hand, what it calls noise, and what it asks the engine."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from selector.errors import TooFewExamplesError, UnknownLabelError, UsageError
from selector.evaluation.stability import measure_stability, sampling_noise, stability_report
from selector.inference.engine import InferenceEngine
from selector.lm.base import CompletionScore
from selector.ordering.permutations import PermutationConfig
from selector.testing import ToyLanguageModel, planted_examples, planted_pool, planted_template
from selector.types import Example, Selection

ORDERS = [Selection.of(*order) for order in permutations(range(4))]
QUERIES = planted_examples(6, seed=8, prefix="query")


class MoodyModel(ToyLanguageModel):
    """Scores by a hash of the whole text, so that every order counts; counts its calls."""

    calls = 0

    def logprobs(self, prompts: Sequence[str], completions: Sequence[str]) -> list[CompletionScore]:
        self.calls += 1
        return [
            CompletionScore(-3 * zlib.crc32((prompt + completion).encode()) / 2**32, 1, 1)
            for prompt, completion in zip(prompts, completions, strict=True)
        ]


def moody_engine() -> InferenceEngine:
    return InferenceEngine(MoodyModel(), planted_template(), planted_pool())


def answers(rng: np.random.Generator, *, queries: int, better: float = 0.0) -> np.ndarray:
    """(24, N): queries are easy or hard, answers follow the last demonstration; `better` helps one of the four."""
    last = np.array([order.indices[-1] for order in ORDERS])
    taste = rng.normal(0, 0.7, (4, queries)) + better * (np.arange(4) == 0)[:, None]
    return rng.normal(0, 1.2, queries) + taste[last] + rng.normal(0, 0.3, (24, queries)) > -0.5


def test_numbers_by_hand() -> None:
    """Guards minimum, mean, maximum, the sample standard deviation and the binomial variance of the queries."""
    right = np.array([[1, 1, 1, 0], [1, 0, 1, 0], [1, 0, 0, 0]], dtype=bool)
    orders = [Selection.of(3, 4, 5), Selection.of(3, 5, 4), Selection.of(5, 4, 3)]
    report = stability_report([orders], [right])
    (own,) = report.sets
    assert own.orders == ((3, 4, 5), (3, 5, 4), (5, 4, 3))
    assert own.accuracies == (0.75, 0.5, 0.25)
    assert (own.lowest, own.mean, own.highest, own.standard_deviation) == (0.25, 0.5, 0.75, 0.25)
    # Shares of right answers 1, 1/3, 2/3, 0; twice 2/9, with 3/2 for three orders, over 4 squared.
    assert sampling_noise(right) == pytest.approx((2 / 9 + 2 / 9) * 1.5 / 16)
    assert own.noise**2 == pytest.approx(sampling_noise(right))
    assert report.queries == 4
    assert report.noise == own.noise
    assert (report.spread.low, report.spread.estimate, report.spread.high) == (0.25, 0.25, 0.25)
    assert report.beyond_noise**2 == pytest.approx(0.25**2 - sampling_noise(right))


def test_spread_is_averaged_over_sets_with_an_interval() -> None:
    """Guards the axis of the interval, and sets of different sizes."""
    rng = np.random.default_rng(0)
    right = [rng.random((2, 9)) < 0.5, rng.random((24, 9)) < 0.5, rng.random((24, 9)) < 0.9]
    report = stability_report([[Selection.of(0, 1), Selection.of(1, 0)], ORDERS, ORDERS], right)
    deviations = [own.mean(axis=1).std(ddof=1) for own in right]
    assert [own.standard_deviation for own in report.sets] == pytest.approx(deviations)
    assert report.spread.estimate == pytest.approx(np.mean(deviations))
    assert min(deviations) <= report.spread.low <= report.spread.high <= max(deviations) + 1e-12
    assert report.noise == pytest.approx(np.mean([own.noise for own in report.sets]))


def test_noise_is_what_finite_queries_give() -> None:
    """Guards the factor P / (P - 1) and the pairing: a binomial of the mean accuracy would be far too large."""
    rng = np.random.default_rng(1)
    drawn = [answers(rng, queries=60) for _ in range(1500)]
    seen = np.mean([own.mean(axis=1).var(ddof=1) for own in drawn])
    assert np.mean([sampling_noise(own) for own in drawn]) == pytest.approx(seen, rel=0.06)
    plain = np.mean([own.mean() * (1 - own.mean()) / 60 for own in drawn])
    assert plain > 2 * seen


def test_verdict_is_rarely_wrong_where_order_does_not_matter() -> None:
    """Guards against orders that end alike being taken for independent: chi-squared cries wolf one time in seven here.

    200 draws: more than 19 at a level of 5 % is 3 sigma off.
    """
    rng = np.random.default_rng(2)
    wrong = 0
    for draw in range(200):
        right = [answers(rng, queries=60) for _ in range(2)]
        wrong += stability_report([ORDERS] * 2, right, rounds=400, seed=draw).order_matters
    assert wrong <= 19


def test_verdict_where_order_matters() -> None:
    """Guards the power of the test and the words of the sentence."""
    rng = np.random.default_rng(3)
    report = stability_report([ORDERS] * 3, [answers(rng, queries=100, better=1.0) for _ in range(3)])
    assert report.order_matters
    assert report.spread.estimate > report.noise
    assert report.verdict.startswith("Order matters for this language model and task: over the orders of 3 sets, on")
    assert report.verdict.endswith("to the order (p = 0.0005).")
    assert report.verdict.count(". ") == 0, "one sentence"


def test_orders_that_answer_alike_have_no_spread() -> None:
    """Guards against division by nothing, and a verdict from rounding."""
    alike = np.tile(np.array([True, False, True, True, False]), (24, 1))
    report = stability_report([ORDERS], [alike])
    assert (report.spread.estimate, report.noise, report.beyond_noise) == pytest.approx((0.0, 0.0, 0.0))
    assert report.p == 1.0
    assert report.verdict.startswith("No effect of order on accuracy shows with 5 queries: over the orders of the set")


@settings(deadline=None, max_examples=40)
@given(arrays.arrays(np.bool_, st.tuples(st.integers(2, 6), st.integers(2, 12))), st.integers(0, 5))
def test_laws_of_the_report(right: np.ndarray, seed: int) -> None:
    """Guards that neither the order of orders nor that of queries counts, and that shares stay shares."""
    orders = ORDERS[: len(right)]
    report = stability_report([orders], [right], rounds=100, seed=seed)
    rng = np.random.default_rng(seed)
    shuffled = right[rng.permutation(len(right))][:, rng.permutation(right.shape[1])]
    again = stability_report([orders], [shuffled], rounds=100, seed=seed)
    assert again.spread.estimate == pytest.approx(report.spread.estimate)
    assert again.noise == pytest.approx(report.noise)
    (own,) = report.sets
    assert 0 <= own.lowest <= own.mean + 1e-12 <= own.highest + 2e-12 <= 1 + 2e-12
    assert 0 < report.p <= 1


def test_the_engine_is_asked_once_for_all_sets() -> None:
    """Guards the cost, and answers that are given to the wrong order or set."""
    engine = moody_engine()
    sets = [Selection.of(0, 3, 5), Selection.of(2, 9), Selection.of(1, 4, 7, 8)]
    report = measure_stability(engine, QUERIES, sets, config=PermutationConfig(permutations=8))
    assert engine.lm.calls == 1  # type: ignore[attr-defined]
    assert [len(own.orders) for own in report.sets] == [6, 2, 8]
    for own, chosen in zip(report.sets, sets, strict=True):
        assert own.orders[0] == chosen.indices
        for order, accuracy in zip(own.orders, own.accuracies, strict=True):
            assert engine.accuracy(QUERIES, [Selection.of(*order)] * len(QUERIES)) == pytest.approx(accuracy)
    assert len({accuracy for own in report.sets for accuracy in own.accuracies}) > 2
    assert measure_stability(engine, QUERIES, sets, config=PermutationConfig(permutations=8)) == report


def test_what_cannot_be_measured_is_named_before_the_model_is_asked() -> None:
    """Guards against NaN from one order or one query, and against paying for it first."""
    engine = moody_engine()
    with pytest.raises(TooFewExamplesError, match="0 sets of demonstrations"):
        measure_stability(engine, QUERIES, [])
    with pytest.raises(TooFewExamplesError, match="1 labelled queries"):
        measure_stability(engine, QUERIES[:1], [Selection.of(0, 1)])
    with pytest.raises(UsageError, match="set 1 has one order"):
        measure_stability(engine, QUERIES, [Selection.of(0, 1), Selection.of(3)])
    with pytest.raises(UnknownLabelError):
        measure_stability(engine, [QUERIES[0], Example("unlabelled", {"text": "?"})], [Selection.of(0, 1)])
    assert engine.lm.calls == 0  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="belong to orders"):
        stability_report([ORDERS], [np.zeros((2, 3), dtype=bool)])
