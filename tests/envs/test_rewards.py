"""Tests of what selections are worth, on the toy language model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.demonstrations import query_problem
from envs.dynamics import DecisionConfig, DecisionProblem
from envs.rewards import FREE_TEXT_POTENTIALS, POTENTIALS, EngineScorer, JudgingScorer, gold_logprob, margin
from selector.errors import UnknownLabelError, UnknownNameError, UsageError
from selector.inference.engine import InferenceEngine
from selector.prompting.template import PromptTemplate
from selector.strategies.dense import NearestSelector
from selector.testing import ToyEncoder, ToyLanguageModel, planted_examples, planted_pool, planted_template
from selector.types import Example, Selection

QUERIES = planted_examples(6, seed=5, prefix="reward")


def engine(*, calibration: str = "none") -> InferenceEngine:
    return InferenceEngine(ToyLanguageModel(), planted_template(), planted_pool(16), calibration=calibration)


def free_text_engine() -> InferenceEngine:
    template = PromptTemplate(template="Review: {text}\nSentiment:{label}", answer_tokens=2)
    return InferenceEngine(ToyLanguageModel(), template, planted_pool(16))


def problem(*, dense: bool, kind: str, token_cost: float, calibration: str) -> DecisionProblem:
    own = engine(calibration=calibration)
    config = DecisionConfig(shots=3, size=6, may_stop=True, dense=dense)
    nearest = NearestSelector(own.pool, ToyEncoder())
    return query_problem(own, QUERIES, nearest, config, reward=kind, token_cost=token_cost)


@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from(sorted(POTENTIALS)),
    st.sampled_from([0.0, 2.5]),
    st.sampled_from(["none", "contextual"]),
    st.integers(0, 10_000),
)
def test_dense_and_terminal_rewards_add_up_alike(kind: str, token_cost: float, calibration: str, seed: int) -> None:
    """Guards shaping for every reward, penalty and calibration: both forms pay potential(final) - potential(none)."""
    totals = []
    query = seed % len(QUERIES)
    for dense in (True, False):
        own = problem(dense=dense, kind=kind, token_cost=token_cost, calibration=calibration)
        rng = np.random.default_rng(seed)
        (episode,) = own.start([query])
        total, done = 0.0, False
        while not done:
            action = int(rng.choice(np.flatnonzero(own.mask(episode))))
            ((episode, reward, done),) = own.step([episode], [action])
            total += reward
            assert dense or done or reward == 0.0
        final, none = own.scorer.potentials([query] * 2, [own.selection(episode), Selection.of()])
        assert total == pytest.approx(final - none, abs=1e-9)
        assert episode.potential == pytest.approx(final, abs=1e-9)
        totals.append(total)
    assert totals[0] == pytest.approx(totals[1], abs=1e-9)


def test_every_potential_by_hand() -> None:
    """Guards the formulas, and ties: equal scores go to the first label, as evaluation answers."""
    scores = np.log([[0.2, 0.5, 0.3], [0.4, 0.4, 0.2], [0.1, 0.1, 0.8]]) - 7.0  # a constant must not matter
    gold = np.array([0, 1, 2])
    worth = {kind: potential(scores, gold) for kind, potential in POTENTIALS.items()}
    assert worth["logprob"] == pytest.approx(np.log([0.2, 0.4, 0.8]))
    assert worth["probability"] == pytest.approx([0.2, 0.4, 0.8])
    assert worth["margin"] == pytest.approx(np.log([0.2 / 0.5, 1.0, 8.0]))
    assert worth["accuracy"].tolist() == [0.0, 0.0, 1.0]
    with pytest.raises(UsageError, match="at least 2 labels"):
        margin(scores[:, :1], np.zeros(3, dtype=np.int64))


def test_potentials_are_calibrated_as_the_engine_is() -> None:
    """Guards against a reward on raw scores while answers are calibrated; batch calibration is in no reward."""
    queries, selections = range(6), [Selection.of(number, number + 4, number + 1) for number in range(6)]
    worth = {}
    for calibration in ("none", "contextual", "batch"):
        own = engine(calibration=calibration)
        worth[calibration] = EngineScorer(own, QUERIES, kind="margin").potentials(queries, selections)
        scores = own.score(QUERIES, selections)
        assert worth[calibration] == pytest.approx(margin(scores, own.gold_columns(QUERIES)))
        assert own.gold_logprobs(QUERIES, selections) == pytest.approx(gold_logprob(scores, own.gold_columns(QUERIES)))
    assert np.abs(worth["contextual"] - worth["none"]).max() > 1e-3
    assert worth["batch"] == pytest.approx(worth["none"])


def test_tokens_cost_what_was_said() -> None:
    """Guards the unit of the penalty: for each thousand tokens of demonstrations, none for an empty prompt."""
    own = engine()
    selections = [Selection.of(), Selection.of(3), Selection.of(3, 7)]
    free = EngineScorer(own, QUERIES).potentials([0, 0, 0], selections)
    paid = EngineScorer(own, QUERIES, token_cost=4.0).potentials([0, 0, 0], selections)
    text = own.template.context([own.pool[3], own.pool[7]])
    assert (free - paid)[0] == 0
    assert (free - paid)[2] == pytest.approx(4.0 * sum(own.demonstration_tokens([3, 7])) / 1000)
    assert sum(own.demonstration_tokens([3, 7])) == pytest.approx(own.lm.count_tokens([text])[0], abs=2)


def test_tokens_are_those_of_the_form_that_is_asked() -> None:
    """Guards a token budget under channel scoring: the direct form was counted, whatever was sent."""
    template = replace(planted_template(), channel_template="What is said in a review that is called{label}: {text}")
    pool = planted_pool(8)
    for scoring, rendered in (("direct", template.context), ("channel", template.channel_context)):
        own = InferenceEngine(ToyLanguageModel(), template, pool, scoring=scoring)
        text = rendered([pool[3], pool[7]])
        assert sum(own.demonstration_tokens([3, 7])) == pytest.approx(own.lm.count_tokens([text])[0], abs=2)


def test_tokens_of_a_demonstration_are_counted_once() -> None:
    """Guards against tokenising the shortlist again at every step."""
    own = engine()
    asked: list[int] = []
    count = own.lm.count_tokens
    own.lm.count_tokens = lambda texts: asked.append(len(texts)) or count(texts)  # type: ignore[method-assign]
    first = own.demonstration_tokens([2, 5, 2])
    assert own.demonstration_tokens([5, 2]) == [first[1], first[0]]
    assert asked == [2]


def test_answers_are_judged_from_the_same_scores() -> None:
    """Guards dev accuracy: it is what evaluation measures, and asks the language model for nothing more."""
    own = engine()
    scorer = EngineScorer(own, QUERIES)
    selections = [Selection.of(number, number + 6) for number in range(6)]
    assert isinstance(scorer, JudgingScorer)
    scorer.potentials(range(6), selections)
    once = own.lm.usage
    worth, right = scorer.judge(range(6), selections)
    assert (own.lm.usage - once).calls == once.calls
    assert worth == pytest.approx(scorer.potentials(range(6), selections))
    assert right is not None
    assert right.mean() == pytest.approx(own.accuracy(QUERIES, selections))


def test_free_text_has_no_margin() -> None:
    """Guards rewards of written answers: no distribution over labels is pretended, no text is written for nothing."""
    own = free_text_engine()
    selections = [Selection.of(1, 2)] * 6
    for kind in FREE_TEXT_POTENTIALS:
        worth, right = EngineScorer(own, QUERIES, kind=kind).judge(range(6), selections)
        assert worth.shape == (6,)
        assert (right is None) == (kind != "accuracy")
    with pytest.raises(UnknownNameError, match="margin"):
        EngineScorer(own, QUERIES, kind="margin")


def test_impossible_rewards_are_refused() -> None:
    """Guards the messages: a reward for tokens, and a query without a gold label."""
    for cost in (-1.0, float("nan"), float("inf")):
        with pytest.raises(UsageError, match="token cost"):
            EngineScorer(engine(), QUERIES, token_cost=cost)
    unlabelled = [Example("q", {"text": "the plot is warm"})]
    with pytest.raises(UnknownLabelError):
        EngineScorer(engine(), unlabelled, kind="margin").potentials([0], [Selection.of(1)])
