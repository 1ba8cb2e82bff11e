"""Tests of orderers: laws of all of them, the entropy formulas, and the probing set."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selector.data.pool import Pool
from selector.errors import ShotsmithError, TooFewExamplesError, UnknownNameError, UsageError
from selector.inference.engine import InferenceEngine
from selector.ordering.base import Orderer
from selector.ordering.best_on_dev import BestOnDevOrderer
from selector.ordering.entropy import (
    EntropyConfig,
    EntropyOrderer,
    entropy,
    global_entropy,
    local_entropy,
)
from selector.ordering.mdl import MDLOrderer
from selector.ordering.named import ORDERERS, build_orderer
from selector.ordering.permutations import candidate_orders
from selector.ordering.probing import generate_probes, opening_text, parsed_probes
from selector.prompting.template import PromptTemplate
from selector.strategies.judging import SetJudge
from selector.testing import (
    ToyEncoder,
    ToyLanguageModel,
    check_orderer,
    planted_examples,
    planted_pool,
    planted_template,
)
from selector.types import Example, Selection

PROBES = planted_examples(4, seed=21, prefix="probe")
DEV = planted_examples(3, seed=22, prefix="dev")


def engine(pool: Pool | None = None) -> InferenceEngine:
    return InferenceEngine(ToyLanguageModel(), planted_template(), pool or planted_pool())


@pytest.mark.parametrize("name", ORDERERS)
def test_laws_of_every_orderer(name: str) -> None:
    """Guards the laws of `selector.testing` for all of ours."""

    def build(pool: Pool) -> Orderer:
        options = {"probes": PROBES, "dev": DEV, "permutations": 6}
        return build_orderer(name, engine=engine(pool), encoder=ToyEncoder(), **options)  # type: ignore[arg-type]

    assert check_orderer(build) == {}


def test_similarity_orders_are_each_others_reverse() -> None:
    """Guards which end stands next to the query."""
    pool, query = planted_pool(), planted_examples(1, seed=5, prefix="q")[0]
    rows = ToyEncoder().encode([query.fields["text"], *(one.fields["text"] for one in pool)])
    similarity = rows[1:] @ rows[0]
    options = {"engine": engine(), "encoder": ToyEncoder()}
    last = build_orderer("nearest-last", **options).order([query], [Selection.of(0, 5, 9, 2)])[0].indices  # type: ignore[arg-type]
    first = build_orderer("nearest-first", **options).order([query], [Selection.of(0, 5, 9, 2)])[0].indices  # type: ignore[arg-type]
    assert list(last) == sorted(last, key=lambda index: similarity[index])
    assert first == last[::-1]


def test_entropy_formulas_by_hand() -> None:
    """Guards GlobalE and LocalE of Lu et al. (2022): entropy of predicted labels, mean entropy of predictions; nats."""
    probabilities = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [1.0, 0.0]])
    assert global_entropy(probabilities) == pytest.approx(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)))
    own = [-(0.9 * math.log(0.9) + 0.1 * math.log(0.1)), -(0.6 * math.log(0.6) + 0.4 * math.log(0.4))]
    own += [-(0.2 * math.log(0.2) + 0.8 * math.log(0.8)), 0.0]
    assert local_entropy(probabilities) == pytest.approx(sum(own) / 4)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.lists(st.floats(0.01, 1), min_size=3, max_size=3), min_size=1, max_size=6))
def test_entropy_is_between_nothing_and_log_labels(weights: list[list[float]]) -> None:
    """Guards sign and scale: entropy is at least 0 and at most log L."""
    probabilities = np.array(weights) / np.sum(weights, axis=1, keepdims=True)
    for value in (global_entropy(probabilities), local_entropy(probabilities), *entropy(probabilities)):
        assert -1e-12 <= value <= math.log(3) + 1e-9


@pytest.mark.parametrize("statistic", ["globale", "locale"])
def test_the_order_of_highest_entropy_is_taken(statistic: str) -> None:
    """Guards the sign: MDL takes the lowest, these take the highest, and the two are easily mixed up."""
    judge, chosen = engine(), Selection.of(0, 2, 4, 1)
    config = EntropyConfig(statistic=statistic)
    (best,) = EntropyOrderer(judge, PROBES, config=config).order(PROBES[:1], [chosen])
    values = {}
    for positions in candidate_orders(4, limit=24, seed=0):
        order = tuple(chosen.indices[at] for at in positions)
        probabilities = judge.probabilities(PROBES, [Selection.of(*order)] * len(PROBES))
        values[order] = {"globale": global_entropy, "locale": local_entropy}[statistic](probabilities)
    assert len(values) == 24
    assert values[best.indices] == pytest.approx(max(values.values()))
    if statistic == "locale":
        assert max(values.values()) > min(values.values())


def test_gold_labels_of_probes_are_not_looked_at() -> None:
    """Guards against an orderer that peeks."""
    swapped = [Example(one.uid, one.fields, {"fresh": "rotten", "rotten": "fresh"}[str(one.label)]) for one in PROBES]
    queries, chosen = planted_examples(1, prefix="q"), [Selection.of(0, 2, 5)]
    assert EntropyOrderer(engine(), PROBES).order(queries, chosen) == EntropyOrderer(engine(), swapped).order(
        queries, chosen
    )


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 7), st.integers(1, 30), st.integers(0, 50))
def test_candidate_orders_are_distinct_and_start_with_the_given_one(length: int, limit: int, seed: int) -> None:
    """Guards the sample of permutations beyond the limit, and all of them below it."""
    orders = candidate_orders(length, limit=limit, seed=seed)
    assert orders[0] == tuple(range(length))
    assert len(set(orders)) == len(orders) == min(math.factorial(length), limit)
    assert all(sorted(order) == list(range(length)) for order in orders)
    assert candidate_orders(length, limit=limit, seed=seed) == orders


def test_one_set_is_ordered_once() -> None:
    """Guards the cost: queries that share a set share its order."""
    judge = engine()
    orderer = EntropyOrderer(judge, PROBES)
    queries = planted_examples(6, prefix="q")
    ordered = orderer.order(queries, [Selection.of(0, 3, 4)] * 6)
    assert judge.lm.usage.calls == math.factorial(3) * len(PROBES) * 2
    assert len(set(ordered)) == 1


def test_written_text_is_cut_into_probes() -> None:
    """Guards the parser: template text is cut off, labels and duplicates are dropped, short inputs too."""
    template = PromptTemplate("Review: {text}\nSentiment:{label}", {"a": " good", "b": " bad"})
    written = [
        "Review: one two three four five\nSentiment: good\n\nReview: too short\nSentiment: bad",
        "Review: ONE two three, four five!\nSentiment: bad\n\nReview: six words are in this review\nSentiment:",
        "nothing of the kind",
    ]
    probes = parsed_probes(template, written)
    assert [one.fields["text"] for one in probes] == ["one two three four five", "six words are in this review"]
    assert {one.label for one in probes} == {None}


def test_the_first_input_needs_no_label_line() -> None:
    """Guards probes of models that leave the form after the first line: the prompt itself began that input."""
    template = PromptTemplate("Review: {text}\nSentiment:{label}", {"a": " good", "b": " bad"})
    assert opening_text(template) == "Review:"
    written = [
        "Review: one two three four five\nWhat a review!\nReview: this later line has no label\n",
        "Review: a line that the limit of tokens has broken",
        "Review: six words are in this review\nWell.\n\nReview: another one with a label line\nSentiment: bad",
    ]
    assert [one.fields["text"] for one in parsed_probes(template, written)] == [
        "one two three four five",
        "six words are in this review",
        "another one with a label line",
    ]
    pair = PromptTemplate("{premise}\nQuestion: {hypothesis} True?{label}", {"a": " yes", "b": " no"})
    assert opening_text(pair) == ""
    (probe,) = parsed_probes(
        pair, ["A man sleeps now.\nQuestion: He is asleep\nand dreams", "No question here.\nNone."]
    )
    assert dict(probe.fields) == {"premise": "A man sleeps now.", "hypothesis": "He is asleep"}
    assert opening_text(PromptTemplate("Label:{label} {text}", {"a": " good", "b": " bad"})) == ""


def test_two_fields_are_cut_at_their_own_text() -> None:
    """Guards templates of sentence pairs."""
    template = PromptTemplate("{premise}\nQuestion: {hypothesis} True?{label}", {"a": " yes", "b": " no"})
    (probe,) = parsed_probes(template, ["A man sleeps now.\nQuestion: He is asleep True? yes\n\n"])
    assert dict(probe.fields) == {"premise": "A man sleeps now.", "hypothesis": "He is asleep"}


def test_the_language_model_writes_probes_when_none_are_given() -> None:
    """Guards the published probing set: sampled from the model behind each order, where an input begins; seeded."""
    asked = []

    class Writer(ToyLanguageModel):
        def generate(self, prompts, **options):  # type: ignore[no-untyped-def]
            asked.append((list(prompts), options))
            return [f" the plot is dull and {number} hollow\nSentiment: rotten" for number, _ in enumerate(prompts)]

    judge = InferenceEngine(Writer(), planted_template(), planted_pool())
    (ordered,) = EntropyOrderer(judge, config=EntropyConfig(seed=5)).order([PROBES[0]], [Selection.of(0, 1, 2)])
    ((prompts, options),) = asked
    assert sorted(ordered.indices) == [0, 1, 2]
    assert len(set(prompts)) == 6
    assert all(prompt.endswith("\n\nReview:") for prompt in prompts)
    assert (options["temperature"], options["top_k"], options["max_new_tokens"], options["seed"]) == (2.0, 20, 128, 5)


def test_a_model_that_writes_nothing_useful_is_named() -> None:
    """Guards against an order chosen by no evidence."""

    class Mute(ToyLanguageModel):
        def generate(self, prompts, **options):  # type: ignore[no-untyped-def]
            return ["..." for _ in prompts]

    judge = InferenceEngine(Mute(), planted_template(), planted_pool())
    with pytest.raises(ShotsmithError, match="Pass unlabelled examples"):
        generate_probes(judge, [Selection.of(0, 1)])


def test_unknown_orderers_are_named() -> None:
    """Guards the names of the command line."""
    with pytest.raises(UnknownNameError, match="globale-calibrated, locale-calibrated, mdl, best-on-dev"):
        build_orderer("farthest-last", engine=engine(), encoder=ToyEncoder())
    with pytest.raises(UnknownNameError, match="globale, locale"):
        EntropyOrderer(engine(), config=EntropyConfig(statistic="mdl"))
    with pytest.raises(UnknownNameError, match="none, contextual"):
        EntropyOrderer(engine(), config=EntropyConfig(calibration="batch"))


def test_no_probes_and_no_dev_queries_are_named() -> None:
    """Guards against an order chosen by no evidence, which the mean of nothing would give with a warning."""
    with pytest.raises(TooFewExamplesError, match="0 probes"):
        EntropyOrderer(engine(), []).order(PROBES[:1], [Selection.of(0, 1)])
    with pytest.raises(TooFewExamplesError, match="0 dev examples"):
        build_orderer("best-on-dev", engine=engine(), encoder=ToyEncoder())


def test_calibrated_probes_are_those_of_a_calibrated_engine() -> None:
    """Guards the option of the orderer against doing nothing, calibrating twice, or changing the engine's answers."""
    chosen, queries = [Selection.of(0, 2, 4, 1)], PROBES[:1]
    for statistic in ("globale", "locale"):
        plain, calibrated = (
            engine(),
            InferenceEngine(ToyLanguageModel(), planted_template(), planted_pool(), calibration="contextual"),
        )
        option = EntropyConfig(statistic=statistic, calibration="contextual")
        by_option = EntropyOrderer(plain, PROBES, config=option).order(queries, chosen)
        as_engine = EntropyOrderer(calibrated, PROBES, config=EntropyConfig(statistic=statistic)).order(queries, chosen)
        twice = EntropyOrderer(calibrated, PROBES, config=option).order(queries, chosen)
        assert by_option == as_engine == twice
        assert plain.calibration == "none"
        off = EntropyConfig(statistic=statistic, calibration="none")
        assert EntropyOrderer(calibrated, PROBES, config=off).order(queries, chosen) == EntropyOrderer(
            plain, PROBES, config=EntropyConfig(statistic=statistic)
        ).order(queries, chosen)


def test_calibration_can_change_the_order() -> None:
    """Guards against an option that is read and forgotten: behind one of the sets, the calibrated order differs."""
    sets = [Selection.of(0, 2, 4, 1), Selection.of(1, 3, 0, 5), Selection.of(6, 7, 9, 10), Selection.of(8, 11, 13, 3)]
    ordered = {
        calibration: EntropyOrderer(
            engine(), PROBES, config=EntropyConfig(statistic="locale", calibration=calibration)
        ).order(PROBES, sets)
        for calibration in ("none", "contextual")
    }
    assert ordered["none"] != ordered["contextual"]


def test_equal_spreads_go_to_the_less_certain_order() -> None:
    """Guards GlobalE with few probes: a quarter of all orders tied, and the one given won by standing first."""
    judge = engine()
    chosen = Selection.of(0, 1, 2, 3)
    (best,) = EntropyOrderer(judge, PROBES[:1]).order(PROBES[:1], [chosen])  # one probe: every order has GlobalE 0
    (unsure,) = EntropyOrderer(judge, PROBES[:1], config=EntropyConfig(statistic="locale")).order(PROBES[:1], [chosen])
    assert best == unsure


@pytest.mark.parametrize("build", [MDLOrderer, lambda own: EntropyOrderer(own, PROBES)])
def test_orders_that_need_labels_are_refused_when_they_are_made(build: Any) -> None:
    """Guards comparisons of free text, which ended behind their first finished runs."""
    template = PromptTemplate("Review: {text}\nSentiment:{label}", {}, answer_tokens=1)
    written = InferenceEngine(ToyLanguageModel(), template, planted_pool())
    with pytest.raises(UsageError, match="free text"):
        build(written)


def test_the_best_order_on_dev_is_not_judged_by_its_own_members() -> None:
    """Guards leave-one-out where dev judges: members of the pool answered themselves, and looked perfect."""
    judge = engine()
    with pytest.raises(UsageError, match="duplicates a member"):
        BestOnDevOrderer(judge, [judge.pool[3]])
    with pytest.raises(UsageError, match="duplicates a member"):
        SetJudge(judge, [judge.pool[3]])
