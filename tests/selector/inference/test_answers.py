"""Tests of the answer rules: what is read out of a written text, and which answers are the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selector.errors import UnknownNameError
from selector.inference.answers import (
    ANSWER_RULES,
    answer_rule,
    folded_number,
    folded_words,
    read_choice,
    read_number,
    read_word,
    read_yes_no,
)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("16", "16"),
        ("She has 3 + 4 = 7 apples.", "7"),
        ("So 40 - 4 = 36.\nThe answer is 24.", "24"),
        ("The answer is 24. Question: what are 5 and 6?", "24"),
        ("The answer is 3. No, the answer is $1,234.50 in all, not 9", "1234.5"),
        ("costs 20-15 dollars", "15"),
        ("it fell to -7 degrees", "-7"),
        ("#### 600,000", "600000"),
        ("the answer is unknown, perhaps 8", "8"),
        ("version v2 has none", ""),
        ("", ""),
    ],
)
def test_the_number_behind_the_cue_goes_before_the_last_number(text: str, number: str) -> None:
    """Guards against the answer to a question that the model made up, and against a step taken for the answer."""
    assert read_number(text) == number


@given(st.integers(min_value=-(10**9), max_value=10**9), st.sampled_from(["{}", "{:,}", "{}.0", "${:,}.00", "0{}"]))
def test_a_number_has_one_form(value: int, form: str) -> None:
    """Guards against an answer that is wrong because it has a comma or a decimal that the data set does not write."""
    written = form.format(abs(value))
    assert folded_number(("-" if value < 0 else "") + written) == str(value)
    assert read_number(f"The answer is {written}.") == str(abs(value))


@given(st.text(max_size=60), st.lists(st.text(max_size=8), max_size=4))
def test_no_text_breaks_a_rule(text: str, choices: list[str]) -> None:
    """Guards against a crash on what a model may write, and against answers that change when they are folded again."""
    for rule in ANSWER_RULES.values():
        answer = rule.read(text, choices)
        assert rule.folded(rule.folded(answer)) == rule.folded(answer)
    assert read_choice(text, choices) in ("", *choices)
    assert read_yes_no(text) in ("", "yes", "no")


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("Yes, it would.", "yes"),
        ("No. Some say yes.", "no"),
        ("There is no doubt.\nThe answer is yes", "yes"),
        ("Nobody knows. No", "no"),
        ("He knows no film", ""),
        ("Nothing", ""),
    ],
)
def test_yes_and_no_are_words(text: str, answer: str) -> None:
    """Guards against "nothing" read as no, and "no doubt" in the steps read before the answer."""
    assert read_yes_no(text) == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("240/4 = 60\nThe answer is 250 m", "250 m"),
        ("Let it be 100 m. Answer D", "250 m"),
        ("so it must be (E)", "300 m"),
        ("first 100 m, then 200 m", "200 m"),
        ("the answer is 1250 m", ""),
        ("The answer is 0.300 m", ""),
        ("A", "100 m"),
        ("F", ""),
    ],
)
def test_a_choice_is_named_by_text_or_letter(text: str, answer: str) -> None:
    """Guards against a choice found within a longer number, and against a letter that stands for none."""
    assert read_choice(text, ("100 m", "150 m", "200 m", "250 m", "300 m")) == answer


def test_a_choice_is_found_without_its_currency_and_period() -> None:
    """Guards AQuA, whose choices are "$67.40" and "8." where answers are "67.40" and "8"; the longest one counts."""
    assert read_choice("(A) 67.40\nThe answer is 67.40", ("$61", "$67.40")) == "$67.40"
    assert read_choice("The answer is 6", ("8.", "6.")) == "6."
    assert read_choice("The answer is new york city.", ("new york", "New York City")) == "New York City"
    assert read_choice("The answer is B", ("$", "right")) == "right"


def test_true_is_yes() -> None:
    """Guards data with true and false for answers: every answer to them counted as wrong."""
    rule = answer_rule("yes-no")
    for gold, written in (("True", "The answer is True."), ("false", "No, never."), ("yes", "True")):
        assert rule.folded(rule.read(written, ())) == rule.folded(gold)
    assert rule.folded("True") != rule.folded("no")


def test_words_are_compared_as_triviaqa_does() -> None:
    """Guards open questions: an article or a comma must not make an alias wrong, another word must."""
    assert folded_words("The  Beatles!") == folded_words("beatles")
    assert folded_words("U.S.") != folded_words("UK")
    assert folded_words("well-known") == folded_words("well known")
    assert folded_words("?") != folded_words("!")
    assert read_word(" Joseph, said she") == "Joseph"
    assert answer_rule("word").folded("\u2018paid") == answer_rule("word").folded(read_word('"Paid."'))
    assert read_word(" ... ") == ""


def test_an_unknown_rule_is_named() -> None:
    """Guards against a KeyError for a misspelt setting."""
    with pytest.raises(UnknownNameError, match="yes-no"):
        answer_rule("yesno")
