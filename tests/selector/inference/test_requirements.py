"""Tests of what template, scoring, calibration and language model must have in common."""

from __future__ import annotations

import pytest

from selector.data.pool import Pool
from selector.errors import OwnChoicesError, ServerCapabilityError, TemplateError, UnknownNameError, UsageError
from selector.inference.engine import InferenceEngine
from selector.inference.requirements import check_settings, require_shown_query
from selector.prompting.template import PromptTemplate
from selector.testing import ToyLanguageModel, planted_template
from selector.types import Example, Selection

LABELS = {"a": " a", "b": " b"}


class Bounded(ToyLanguageModel):
    """A server that gives the most probable tokens alone."""

    exact = False


def test_what_goes_together_is_taken() -> None:
    """Guards against refusing too much: fields behind the label, which demonstrations alone show, are fine."""
    check_settings(ToyLanguageModel(), planted_template(), scoring="channel", calibration="batch")
    check_settings(Bounded(), planted_template(), scoring="direct", calibration="none")
    shown = PromptTemplate("{text}\nA:{label}\nBecause {why}", LABELS)
    check_settings(ToyLanguageModel(), shown, scoring="direct", calibration="none")
    require_shown_query(shown)
    require_shown_query(PromptTemplate("{choices}\nA:{label}", multiple_choice=True))


@pytest.mark.parametrize(
    ("changes", "scoring", "calibration", "error"),
    [
        ({}, "guess", "none", UnknownNameError),
        ({}, "direct", "guess", UnknownNameError),
        ({"verbalizers": {}, "answer_tokens": 4}, "ppl", "none", UsageError),
        ({"verbalizers": {}, "multiple_choice": True}, "direct", "batch", OwnChoicesError),
    ],
)
def test_what_does_not_is_refused(
    changes: dict[str, object], scoring: str, calibration: str, error: type[Exception]
) -> None:
    """Guards scores that mean nothing."""
    settings: dict[str, object] = {"template": "{text}\nA:{label}", "verbalizers": LABELS}
    template = PromptTemplate(**settings | changes)  # type: ignore[arg-type]
    with pytest.raises(error):
        check_settings(ToyLanguageModel(), template, scoring=scoring, calibration=calibration)


@pytest.mark.parametrize(("scoring", "calibration"), [("ppl", "none"), ("direct", "contextual"), ("direct", "batch")])
def test_bounds_are_neither_averaged_nor_divided(scoring: str, calibration: str) -> None:
    """Guards calibration on servers: a label outside the top tokens got a prior that nobody had measured."""
    with pytest.raises(ServerCapabilityError, match=calibration if scoring == "direct" else scoring):
        check_settings(Bounded(), planted_template(), scoring=scoring, calibration=calibration)


@pytest.mark.parametrize("template", ["A:{label}\n{text}", "A:{rationale} so{label}\n{text}"])
def test_a_prompt_shows_something_of_its_query(template: str) -> None:
    """Guards templates made for channel scoring: every query had the same prompt, and the same answer."""
    free = {"answer_tokens": 4} if "rationale" in template else {"verbalizers": LABELS}
    made = PromptTemplate(template, **free)  # type: ignore[arg-type]
    pool = Pool([Example("d", {"text": "one"}, "a", rationale="so")])
    engine = InferenceEngine(ToyLanguageModel(), made, pool)  # one that only holds a pool asks nothing
    with pytest.raises(TemplateError, match="channel"):
        engine.predict([Example("q", {"text": "two"})], [Selection.of(0)])
    if "rationale" not in template:
        channel = InferenceEngine(ToyLanguageModel(), made, pool, scoring="channel")
        assert channel.predict([Example("q", {"text": "two"})], [Selection.of(0)])[0].label in LABELS
