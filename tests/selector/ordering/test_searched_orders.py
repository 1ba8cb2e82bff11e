"""Tests of the orders that need no probing set: reversed, surest for the query, and best on labelled dev queries."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
import pytest

from selector.errors import UnknownLabelError, UsageError
from selector.inference.engine import InferenceEngine
from selector.lm.base import CompletionScore
from selector.ordering import mdl
from selector.ordering.best_on_dev import BestOnDevOrderer
from selector.ordering.entropy import entropy, local_entropy
from selector.ordering.judging import right_answers
from selector.ordering.mdl import MDLOrderer
from selector.ordering.permutations import PermutationConfig, tried_orders
from selector.ordering.similarity import ReverseOrder
from selector.prompting.template import PromptTemplate
from selector.testing import ToyLanguageModel, planted_examples, planted_pool, planted_template
from selector.types import Example, Selection

QUERIES = planted_examples(6, seed=31, prefix="q")
DEV = planted_examples(8, seed=32, prefix="dev")
SET = Selection((0, 2, 4, 1), (0.1, 0.2, 0.3, 0.4))


def engine(lm: ToyLanguageModel | None = None, **options: str) -> InferenceEngine:
    return InferenceEngine(lm or ToyLanguageModel(), planted_template(), planted_pool(), **options)


class MoodyModel(ToyLanguageModel):
    """Scores by a hash of the whole text, so that every order counts; notes the number of requests of every call."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[int] = []

    def logprobs(self, prompts: Sequence[str], completions: Sequence[str]) -> list[CompletionScore]:
        self.asked.append(len(prompts))
        return [
            CompletionScore(-3 * zlib.crc32((prompt + completion).encode()) / 2**32, 1, 1)
            for prompt, completion in zip(prompts, completions, strict=True)
        ]


def test_reverse_turns_indices_and_scores() -> None:
    """Guards against scores that stay where they were."""
    (turned,) = ReverseOrder().order(QUERIES[:1], [SET])
    assert turned == Selection((1, 4, 2, 0), (0.4, 0.3, 0.2, 0.1))


def test_mdl_takes_the_lowest_entropy_for_each_query() -> None:
    """Guards the sign, which is opposite to LocalE's, and against one order for all queries."""
    judge = engine(MoodyModel())
    ordered = MDLOrderer(judge).order(QUERIES, [SET] * len(QUERIES))
    assert len(set(ordered)) > 1
    for query, own in zip(QUERIES, ordered, strict=True):
        tried = tried_orders(SET, PermutationConfig())
        values = entropy(judge.probabilities([query] * 24, tried))
        assert max(values) > min(values)
        assert values[tried.index(own)] == pytest.approx(min(values))
        # With the query as the only probe, LocalE ranks by the same number and would take the other end.
        assert local_entropy(judge.probabilities([query], [own])) == pytest.approx(min(values))


def test_mdl_asks_many_queries_at_once_and_the_same_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards the cost of a call for each query or order, and parts that are put together wrongly."""
    lm = MoodyModel()
    selections = [SET, Selection.of(3), Selection.of(5, 6), Selection.of(), SET, Selection.of(7, 8, 9)]
    whole = MDLOrderer(engine(lm)).order(QUERIES, selections)
    assert lm.asked == [2 * (24 + 2 + 24 + 6)]
    monkeypatch.setattr(mdl, "PROMPTS", 30)
    assert MDLOrderer(engine(lm)).order(QUERIES, selections) == whole
    assert len(lm.asked) > 2


def test_mdl_does_not_look_at_labels() -> None:
    """Guards against an orderer that peeks at the answer."""
    unlabelled = [Example(query.uid, query.fields) for query in QUERIES]
    selections = [SET] * len(QUERIES)
    judge = engine(MoodyModel())
    assert MDLOrderer(judge).order(QUERIES, selections) == MDLOrderer(judge).order(unlabelled, selections)


def test_best_on_dev_is_best_and_ties_go_by_gold_logprob() -> None:
    """Guards the comparison: accuracy first, then the mean log-probability of the gold labels."""
    judge, dev = engine(MoodyModel()), DEV[:6]
    (best,) = BestOnDevOrderer(judge, dev).order(QUERIES[:1], [SET])
    values = {
        own.indices: (
            judge.accuracy(dev, [own] * len(dev)),
            round(float(judge.gold_logprobs(dev, [own] * len(dev)).mean()), 9),
        )
        for own in tried_orders(SET, PermutationConfig())
    }
    accuracies = [accuracy for accuracy, _ in values.values()]
    assert min(accuracies) < max(accuracies)
    assert accuracies.count(max(accuracies)) > 1
    assert values[best.indices] == max(values.values())


def test_best_on_dev_searches_a_set_once() -> None:
    """Guards the cost: one call for all orders, a second one where some are tied, none for queries of the same set."""
    lm = MoodyModel()
    orderer = BestOnDevOrderer(engine(lm), DEV)
    orderer.order(QUERIES, [SET] * len(QUERIES))
    assert lm.asked[0] == 24 * len(DEV) * 2
    assert len(lm.asked) <= 2
    again = len(lm.asked)
    orderer.order(QUERIES[:1], [SET])
    assert len(lm.asked) == again


@pytest.mark.parametrize("calibration", ["none", "contextual", "batch"])
def test_right_answers_are_those_of_the_engine(calibration: str) -> None:
    """Guards the shape, and batch calibration over the queries of several orders, which no user would get."""
    judge = engine(MoodyModel(), calibration=calibration)
    orders = [Selection.of(0, 2, 4, 1), Selection.of(1, 0, 2, 4), Selection.of(6, 3)]
    outcomes = right_answers(judge, DEV, orders)
    assert outcomes.shape == (3, len(DEV))
    assert [judge.accuracy(DEV, [order] * len(DEV)) for order in orders] == outcomes.mean(axis=1).tolist()
    assert 0 < outcomes.mean() < 1
    assert right_answers(judge, DEV, []).shape == (0, len(DEV))


def test_free_text_is_judged_by_what_is_written() -> None:
    """Guards tasks without a set of labels: answers are generated, and MDL, which needs labels, says so."""
    template = PromptTemplate("Review: {text}\nSentiment:{label}", {}, answer_tokens=1)
    judge = InferenceEngine(ToyLanguageModel(), template, planted_pool())
    orders = tried_orders(Selection.of(0, 2, 1), PermutationConfig())
    outcomes = right_answers(judge, DEV, orders)
    assert [judge.accuracy(DEV, [order] * len(DEV)) for order in orders] == outcomes.mean(axis=1).tolist()
    (best,) = BestOnDevOrderer(judge, DEV).order(QUERIES[:1], orders[:1])
    assert outcomes.mean(axis=1)[orders.index(best)] == outcomes.mean(axis=1).max()
    with pytest.raises(UsageError, match="closed set of labels"):
        MDLOrderer(judge).order(QUERIES[:1], [SET])


@pytest.mark.parametrize("free_text", [False, True])
def test_queries_without_a_label_cannot_be_judged(free_text: bool) -> None:
    """Guards against comparing answers with the text "None"."""
    template = PromptTemplate("Review: {text}\nSentiment:{label}", {}, answer_tokens=1) if free_text else None
    judge = InferenceEngine(ToyLanguageModel(), template or planted_template(), planted_pool())
    with pytest.raises(UnknownLabelError):
        right_answers(judge, [Example("q", DEV[0].fields)], [SET])


def test_a_sample_of_orders_keeps_the_given_one() -> None:
    """Guards sets of more than four: no more than the limit, the given order first."""
    long = Selection.of(*range(8))
    tried = tried_orders(long, PermutationConfig(permutations=5, seed=3))
    assert tried[0] == long
    assert len(set(tried)) == 5
    judge = engine(MoodyModel())
    values = entropy(judge.probabilities(QUERIES[:1] * 5, tried))
    config = PermutationConfig(permutations=5, seed=3)
    assert MDLOrderer(judge, config=config).order(QUERIES[:1], [long]) == [tried[int(np.argmin(np.round(values, 9)))]]
