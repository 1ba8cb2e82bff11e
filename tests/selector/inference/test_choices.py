"""Tests of queries that bring choices of their own, and of scoring per token and by mutual information."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from envs.rewards import EngineScorer
from policies.mining import score_candidates
from selector.adapters.lm_eval import write_prompts
from selector.data.pool import Pool
from selector.errors import InvalidExampleError, OwnChoicesError, TemplateError, UnknownLabelError
from selector.evaluation.compare import Method, compare
from selector.evaluation.confusion import label_names
from selector.evaluation.measured import measured
from selector.evaluation.references import reference_answers
from selector.inference.calibration import log_softmax
from selector.inference.engine import CHUNK, InferenceEngine
from selector.inspection.effects import explain
from selector.learned.label_uncertainty import LabelUncertainty
from selector.learned.lm_features import EngineReader
from selector.ordering.entropy import EntropyConfig, EntropyOrderer
from selector.ordering.judging import right_answers
from selector.ordering.mdl import MDLOrderer
from selector.pipeline import Pipeline
from selector.prompting.generation import generate_demonstrations
from selector.prompting.instructions import rank_instructions
from selector.prompting.mutual_information import rank_templates
from selector.prompting.template import PromptTemplate
from selector.strategies.balanced import BalancedSelector
from selector.strategies.judging import SetJudge
from selector.strategies.random import RandomSelector
from selector.strategies.uncertain import MaxEntropySelector
from selector.testing import ToyEncoder, ToyLanguageModel, planted_pool
from selector.types import Example, Selection

TEMPLATE = PromptTemplate("Q: {text}\nA:{label}", multiple_choice=True)
POOL = Pool(
    [
        Example("a", {"text": "where do cows live"}, "on a farm", ("on a farm", "at sea", "in town")),
        Example("b", {"text": "where do fish live"}, "at sea", ("in town", "at sea")),
        Example("c", {"text": "what do cows eat"}, "grass", ("stones", "grass", "glass", "fish")),
        Example("d", {"text": "what do cats eat"}, "fish", ("fish", "grass")),
    ]
)
FEW = Example("few", {"text": "where do whales live"}, "at sea", ("in town", "at sea"))
MANY = Example("many", {"text": "what do goats eat"}, "grass", ("fish", "stones", "glass", "grass", "sand"))
NONE = Selection.of()


def make(template: PromptTemplate = TEMPLATE, **settings: str) -> InferenceEngine:
    return InferenceEngine(ToyLanguageModel(), template, POOL, **settings)


def test_every_query_is_scored_on_its_own_choices() -> None:
    """Guards against columns of another query, and against a choice that a query lacks with a score above none."""
    engine, shown = make(), [Selection.of(1), Selection.of(2)]
    scores = engine.score([FEW, MANY], shown)
    assert scores.shape == (2, 5)
    for query, row, selection in zip((FEW, MANY), scores, shown, strict=True):
        prompt = TEMPLATE.prompt([POOL[index] for index in selection.indices], query)
        alone = [ToyLanguageModel().logprobs([prompt], [f" {choice}"])[0].logprob for choice in query.choices]
        assert row[: len(alone)] == pytest.approx(alone)
        assert np.isneginf(row[len(alone) :]).all()
    assert list(engine.gold_columns([FEW, MANY])) == [1, 3]
    assert engine.score([], []).shape == (0, 1)
    few, many = engine.predict([FEW, MANY], shown)
    assert (few.label, tuple(few.scores)) == ("at sea", FEW.choices)
    assert (many.label, tuple(many.scores)) == ("grass", MANY.choices)
    assert sum(many.probabilities.values()) == pytest.approx(1)
    assert engine.accuracy([FEW, MANY], shown) == 1.0


def test_a_query_does_not_depend_on_the_choices_of_others() -> None:
    """Guards distributions over padded rows, alone and in chunks of unlike width."""
    engine = make()
    together = engine.gold_logprobs([FEW, MANY], [NONE, NONE])
    apart = [engine.gold_logprobs([query], [NONE])[0] for query in (FEW, MANY)]
    assert together == pytest.approx(apart)
    assert engine.probabilities([FEW, MANY], [NONE, NONE]).sum(axis=1) == pytest.approx([1, 1])
    queries = [FEW] * CHUNK + [MANY]
    assert engine.predict(queries, [NONE] * len(queries))[-1] == engine.predict([MANY], [NONE])[0]


def test_equal_choices_are_both_right() -> None:
    """Guards CommonsenseQA, where some queries list one text twice."""
    twice = replace(FEW, choices=("at sea", "in town", "at sea"))
    (prediction,) = make().predict([twice], [Selection.of(1)])
    assert prediction.label == "at sea"
    assert set(prediction.scores) == {"at sea", "in town"}
    assert make().accuracy([twice], [Selection.of(1)]) == 1.0


def test_per_token_scores_are_means() -> None:
    """Guards against the shortest choice winning by its length."""
    direct, mean = make().score([FEW], [NONE])[0], make(scoring="per-token").score([FEW], [NONE])[0]
    assert mean == pytest.approx(direct / 2)  # both choices have two words


def test_pmi_takes_away_what_a_choice_scores_without_input() -> None:
    """Guards the premise: without demonstrations and input, the same for all queries, asked once for each choice."""
    engine = make(scoring="pmi")
    shown = [Selection.of(0, 1), Selection.of(2)]
    scores, direct = engine.score([FEW, MANY], shown), make().score([FEW, MANY], shown)
    for query, row, before in zip((FEW, MANY), scores, direct, strict=True):
        for column, choice in enumerate(query.choices):
            alone = ToyLanguageModel().logprobs(["A:"], [f" {choice}"])[0].logprob
            assert row[column] == pytest.approx(before[column] - alone)
    calls = engine.lm.usage.calls
    engine.score([FEW, FEW], [NONE, NONE])
    assert engine.lm.usage.calls == calls + 2 * 2 + 2
    named = replace(TEMPLATE, domain_premise="the answer is:")
    assert named.premise == "the answer is:"
    assert named.fingerprint != TEMPLATE.fingerprint
    with pytest.raises(TemplateError, match="domain_premise"):
        make(PromptTemplate("{text}{label}", multiple_choice=True), scoring="pmi")


def test_contextual_calibration_keeps_the_choices() -> None:
    """Guards content-free inputs, which have no choices of their own, and padded columns, which stay impossible."""
    plain, calibrated = make(), make(calibration="contextual")
    scores = calibrated.score([FEW, MANY], [NONE, NONE])
    assert np.isneginf(scores[0, 2:]).all()
    assert np.isfinite(scores[1]).all()
    free = replace(FEW, fields={"text": "N/A"})
    assert log_softmax(plain.score([free], [NONE])).shape == (1, 2)
    with pytest.raises(OwnChoicesError, match="batch calibration"):
        make(calibration="batch")


def test_what_is_no_choice_is_named() -> None:
    """Guards against a traceback for a gold label that no choice has, and for a query without choices."""
    with pytest.raises(UnknownLabelError, match="the choices of 'x'"):
        TEMPLATE.check(replace(FEW, uid="x", label="on Mars"))
    with pytest.raises(UnknownLabelError):
        make().gold_logprobs([replace(FEW, label=None)], [NONE])
    with pytest.raises(InvalidExampleError, match="2 to 26 choices"):
        make().score([replace(FEW, choices=())], [NONE])
    with pytest.raises(TemplateError, match="one of the two"):
        PromptTemplate("{text}{label}", {"a": " a"}, multiple_choice=True)
    with pytest.raises(TemplateError, match="one of the two"):
        PromptTemplate("{text}{label}", multiple_choice=True, answer_tokens=3)


def test_what_judges_by_gold_or_by_query_works() -> None:
    """Guards rewards, mining, judges, orders and comparisons against matrices whose columns differ from row to row."""
    engine, queries = make(), [FEW, MANY]
    for kind in ("logprob", "probability", "margin", "accuracy"):
        values = EngineScorer(engine, queries, kind=kind).potentials([0, 1], [Selection.of(1), Selection.of(2)])
        assert np.isfinite(values).all()
    mined = score_candidates(engine, queries, [[0, 1], [2, 3]])
    assert mined[1].candidates[0].uid == "c"
    assert SetJudge(engine, queries).values([(1, 2)])[0][0] == engine.accuracy(queries, [Selection.of(1, 2)] * 2)
    orders = [Selection.of(1, 2), Selection.of(2, 1)]
    right = right_answers(engine, queries, orders)
    assert right[0].mean() == engine.accuracy(queries, [orders[0]] * 2)
    assert right_answers(engine, [], orders).shape == (2, 0)
    assert len(MDLOrderer(engine).order(queries, orders)) == 2
    locale = EntropyOrderer(engine, list(POOL), config=EntropyConfig(statistic="locale"))
    assert set(locale.order([FEW], [orders[0]])[0].indices) == {1, 2}
    assert len(MaxEntropySelector(engine).select(queries, 2)[0].indices) == 2
    method = Method("random", lambda seed: Pipeline(RandomSelector(POOL, seed=seed), engine))
    compared = compare(engine, queries, methods=[method], shots=1, baseline="random")
    assert [outcome.gold for outcome in compared.rows[0].outcomes] == ["at sea", "grass"]
    assert measured(compared.rows[0]) == {}
    assert label_names(compared.rows) == ()
    with pytest.raises(UnknownLabelError):
        compare(engine, [replace(FEW, label="x")], methods=[method], shots=1, baseline="random")


def test_instructions_and_explanations_know_own_choices() -> None:
    """Guards demonstrations flipped to a label that they cannot bear, and gold columns of another query."""
    engine = make()
    ranked = rank_instructions(engine, {"plain": "Answer."}, [FEW, MANY])
    assert np.isfinite(ranked[0].gold_logprob)
    explained = explain(engine, FEW, Selection.of(2, 1))
    assert set(explained.effects[0].flips) == set(POOL[2].choices) - {"grass"}
    assert set(explained.effects[1].flips) == {"in town"}


def test_what_needs_shared_labels_is_refused(tmp_path: Path) -> None:
    """Guards against features, references and entropies over columns that mean another thing for every query."""
    engine = make()
    with pytest.raises(OwnChoicesError):
        EngineReader(engine, [FEW])
    with pytest.raises(OwnChoicesError):
        LabelUncertainty(engine, [0, 1])
    with pytest.raises(OwnChoicesError):
        EntropyOrderer(engine, [FEW])
    with pytest.raises(OwnChoicesError):
        EntropyOrderer(engine, None, config=EntropyConfig(statistic="locale"))
    with pytest.raises(OwnChoicesError):
        generate_demonstrations(engine, [FEW])
    with pytest.raises(OwnChoicesError):
        rank_templates(engine, [TEMPLATE], [FEW, MANY])
    with pytest.raises(OwnChoicesError):
        write_prompts(tmp_path, TEMPLATE, POOL, [FEW], [NONE])
    with pytest.raises(OwnChoicesError, match="balance"):
        BalancedSelector(POOL)
    with pytest.raises(OwnChoicesError, match="majority") as caught:
        reference_answers("majority", pool=POOL, encoder=ToyEncoder(), queries=[FEW], shots=1)
    assert caught.value.exit_code == 2
    assert planted_pool().require_shared_labels("anything") is None


def test_choices_and_aliases_tell_pools_apart_and_nothing_else_changes() -> None:
    """Guards artifacts against a pool whose choices changed, and old fingerprints against this addition."""
    plain = Pool([Example("a", {"text": "x"}, "y")])
    changed = [
        Pool([Example("a", {"text": "x"}, "y", choices=("y", "z"))]),
        Pool([Example("a", {"text": "x"}, "y", aliases=("z",))]),
        Pool([Example("a", {"text": "x"}, "y", rationale="z")]),
    ]
    assert len({pool.fingerprint for pool in (plain, *changed)}) == 4
    assert plain.fingerprint == "49c1935f353cfdf2aed0929a1c76234e94a6966c5af03514100ef7e3a1813507"
