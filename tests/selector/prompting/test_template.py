"""Tests of the prompt template."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selector.errors import InvalidExampleError, TemplateError, UnknownLabelError
from selector.prompting.template import PromptTemplate
from selector.types import Example

VERBALIZERS = {"good": " good", "bad": " very bad"}


def make(template: str = "Review: {text}\nSentiment:{label}", **settings: str) -> PromptTemplate:
    return PromptTemplate(template=template, verbalizers=VERBALIZERS, **settings)


def test_a_prompt_holds_instruction_demonstrations_and_query_in_order() -> None:
    """Guards the layout that every score depends on, byte for byte."""
    template = make(instruction="Judge.", separator="\n--\n")
    demonstrations = [Example("1", {"text": "A"}, "good"), Example("2", {"text": "B"}, "bad")]
    prompt = template.prompt(demonstrations, Example("q", {"text": "C"}, "good"))
    assert prompt == (
        "Judge.\n--\nReview: A\nSentiment: good\n--\nReview: B\nSentiment: very bad\n--\nReview: C\nSentiment:"
    )


def test_zero_shot_without_instruction_starts_with_the_query() -> None:
    """Guards against a leading separator in the zero-shot prompt."""
    assert make().prompt([], Example("q", {"text": "C"})) == "Review: C\nSentiment:"


@settings(deadline=None, max_examples=60)
@given(st.text() | st.sampled_from(["{label}", "{text}", "{{label}}", "\n\n", "{", "}", "%s", "Review: {text}"]))
def test_a_hostile_field_changes_nothing_else(text: str) -> None:
    """Guards against multi-pass substitution: OpenICL replaced field tokens inside inserted demonstrations."""
    template = make()
    demonstration = Example("d", {"text": text}, "bad")
    query = Example("q", {"text": text})
    expected = f"Review: {text}\nSentiment: very bad\n\nReview: {text}\nSentiment:"
    assert template.prompt([demonstration], query) == expected


def test_the_query_never_shows_its_label() -> None:
    """Guards against the gold label leaking into the prompt."""
    template = make()
    assert "very bad" not in template.prompt([], Example("q", {"text": "C"}, "bad"))


def test_text_behind_the_label_stays_in_demonstrations_only() -> None:
    """Guards against scoring text that follows the label."""
    template = make("Q: {text} A:{label}.")
    assert template.demonstration(Example("d", {"text": "x"}, "good")) == "Q: x A: good."
    assert template.query_text(Example("q", {"text": "x"})) == "Q: x A:"


def test_the_channel_form_puts_the_label_first() -> None:
    """Guards the derived channel template and the split between condition and scored text."""
    template = make()
    context = template.channel_context([Example("d", {"text": "A"}, "good")])
    assert context == "Sentiment: good\nReview: A\n\n"
    assert template.channel_query("bad", Example("q", {"text": "B"})) == ("Sentiment: very bad", "\nReview: B")


def test_an_explicit_channel_template_is_used() -> None:
    """Guards against deriving where the user has said."""
    template = make("{text} It was{label}.", channel_template="It was{label}: {text}")
    assert template.channel_query("good", Example("q", {"text": "B"})) == ("It was good", ": B")


@pytest.mark.parametrize("template", ["{text} It was{label}.", "{text} {label}\n{text}{label}"])
def test_no_channel_form_is_guessed(template: str) -> None:
    """Guards against a wrong channel prompt for a template whose label shares a line with the input."""
    if template.count("{label}") > 1:
        with pytest.raises(TemplateError):
            make(template)
        return
    with pytest.raises(TemplateError, match="channel_template"):
        make(template).channel_query("good", Example("q", {"text": "B"}))


def test_a_channel_template_with_the_label_behind_the_input_is_refused() -> None:
    """Guards against Channel scoring that conditions on the input."""
    with pytest.raises(TemplateError, match="before every input"):
        make(channel_template="{text} {label}").channel_query("good", Example("q", {"text": "B"}))


@pytest.mark.parametrize(
    "template", ["no fields", "{text}", "{label}", "{text}{label}{label}", "{text} {label", "{a.b}{label}"]
)
def test_a_broken_template_is_refused(template: str) -> None:
    """Guards against a template without its label, or with fields that str.format would execute."""
    with pytest.raises(TemplateError, match="expected"):
        make(template)


@pytest.mark.parametrize("verbalizers", [{}, {"a": ""}, {"a": " x", "b": " x"}])
def test_ambiguous_verbalizers_are_refused(verbalizers: dict[str, str]) -> None:
    """Guards against two labels with the same text, whose scores would always tie."""
    with pytest.raises(TemplateError):
        PromptTemplate(template="{text}{label}", verbalizers=verbalizers)


def test_a_missing_field_and_an_unknown_label_are_named() -> None:
    """Guards against a KeyError as the answer to a user's mistake."""
    template = make()
    with pytest.raises(InvalidExampleError, match="lacks \\['text'\\]"):
        template.prompt([], Example("q", {"body": "C"}))
    with pytest.raises(UnknownLabelError) as caught:
        template.demonstration(Example("d", {"text": "C"}, "ugly"))
    assert caught.value.label == "ugly"
    assert caught.value.known == ("good", "bad")


def test_a_demonstration_needs_a_label() -> None:
    """Guards against a demonstration that shows no answer."""
    with pytest.raises(InvalidExampleError, match="no label"):
        make().demonstration(Example("d", {"text": "C"}))


def test_the_fingerprint_covers_everything_that_shapes_a_prompt() -> None:
    """Guards against scores or artifacts being reused under another template."""
    changed = [
        make(),
        make(separator="\n"),
        make(instruction="x"),
        make("R: {text}{label}"),
        make(channel_template="{label}{text}"),
    ]
    assert len({template.fingerprint for template in changed}) == len(changed)
    assert make().fingerprint == make().fingerprint
