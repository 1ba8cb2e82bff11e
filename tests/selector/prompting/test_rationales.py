"""Tests of templates whose demonstrations show the steps to their label, and of choices that are shown."""

from __future__ import annotations

from dataclasses import replace

import pytest

from selector.data.pool import Pool
from selector.errors import InvalidExampleError, TemplateError
from selector.inference.engine import InferenceEngine
from selector.prompting.template import PromptTemplate
from selector.testing import ToyLanguageModel
from selector.types import Example, Selection

STEPS = PromptTemplate(
    "Q: {text}\nA:{rationale}\nThe answer is{label}.", answer_tokens=12, answer_rule="number", separator="\n\n"
)
SHOWN = Example("d", {"text": "2 and 3?"}, "5", rationale="2 + 3 = 5.")
QUERY = Example("q", {"text": "1 and 6?"}, "7", rationale="1 + 6 = 7.")


def test_only_demonstrations_show_their_steps() -> None:
    """Guards against a prompt that tells the query's own steps, which hold its answer."""
    prompt = STEPS.prompt([SHOWN], QUERY)
    assert prompt == "Q: 2 and 3?\nA: 2 + 3 = 5.\nThe answer is 5.\n\nQ: 1 and 6?\nA:"
    assert STEPS.target(QUERY) == " 1 + 6 = 7.\nThe answer is 7"
    assert STEPS.input_fields == ("text",)
    assert STEPS.prompt([], replace(QUERY, label=None, rationale=None)) == "Q: 1 and 6?\nA:"


def test_the_answer_is_read_out_of_the_steps() -> None:
    """Guards against the whole text being compared, and against forgetting what was written."""

    class Writer(ToyLanguageModel):
        def generate(self, prompts, **options):  # type: ignore[no-untyped-def]
            return [" 1 + 6 = 7.\nThe answer is 7.0" for _ in prompts]

    engine = InferenceEngine(Writer(), STEPS, Pool([SHOWN]))
    (prediction,) = engine.predict([replace(QUERY, rationale=None)], [Selection.of(0)])
    assert (prediction.label, prediction.text) == ("7", "1 + 6 = 7.\nThe answer is 7.0")
    assert engine.accuracy([QUERY], [Selection.of(0)]) == 1.0
    assert engine.gold_logprobs([QUERY], [Selection.of(0)])[0] < 0
    with pytest.raises(InvalidExampleError, match="no rationale"):
        engine.gold_logprobs([replace(QUERY, rationale=None)], [Selection.of(0)])


def test_a_demonstration_without_steps_is_refused() -> None:
    """Guards against the word None, or a gap, in the prompt."""
    with pytest.raises(InvalidExampleError, match="no rationale"):
        STEPS.prompt([replace(SHOWN, rationale=None)], QUERY)


@pytest.mark.parametrize(
    "template", ["{text}{label} as{rationale}", "{rationale}{text}{label}", "{text}{rationale}{rationale}{label}"]
)
def test_steps_stand_next_before_the_label(template: str) -> None:
    """Guards against a query that is cut before its own input, and against steps behind the answer."""
    with pytest.raises(TemplateError, match="next before"):
        PromptTemplate(template, answer_tokens=4)


def test_steps_need_written_answers() -> None:
    """Guards against labels scored where the steps should stand."""
    with pytest.raises(TemplateError, match="labels to be scored"):
        PromptTemplate("{text}{rationale}{label}", {"a": " a", "b": " b"})


def test_choices_are_shown_with_letters() -> None:
    """Guards the order of letters and choices, and queries whose choices were forgotten."""
    template = PromptTemplate("{text} Options: {choices}\nA:{label}", multiple_choice=True)
    query = Example("q", {"text": "Which?"}, "sea", ("sea", "{text}"))
    assert template.prompt([], query) == "Which? Options: (A) sea (B) {text}\nA:"
    assert template.channel_query("sea", query) == ("A: sea", "\nWhich? Options: (A) sea (B) {text}")
    with pytest.raises(InvalidExampleError, match="choices"):
        template.query_text(replace(query, choices=()))


def test_aliases_are_right_by_the_rule() -> None:
    """Guards against the first alias being the only right one, for the engine and for those who compare texts."""
    template = PromptTemplate("{text}:{label}", answer_tokens=4, answer_rule="words")
    query = Example("q", {"text": "flower"}, "COWSLIP", aliases=("Petty Mullein",))
    engine = InferenceEngine(ToyLanguageModel(), template, Pool([replace(query, uid="d")]))
    assert engine.is_right("the petty mullein", "COWSLIP", query.aliases)
    assert engine.matched_gold(query, "the petty mullein") == "the petty mullein"
    assert engine.matched_gold(query, "rose") == "COWSLIP"
    assert not engine.is_right("petty mullein", "COWSLIP")


def test_fingerprints_tell_kinds_apart() -> None:
    """Guards artifacts against a template that asks for another kind of answer."""
    plain = PromptTemplate("{text}:{label}", answer_tokens=4)
    assert plain.fingerprint != replace(plain, answer_rule="number").fingerprint
    labels = PromptTemplate("{text}:{label}", {"a": " a"})
    assert labels.fingerprint != PromptTemplate("{text}:{label}", multiple_choice=True).fingerprint
