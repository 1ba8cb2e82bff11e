"""Tests of reading answers: the rules for each data set, and laws over all texts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selector.errors import UnknownNameError, UsageError
from selector.prompting.reasoning.answers import (
    CHOICE,
    KINDS,
    NUMBER,
    TEXT,
    YES_NO,
    canonical_answer,
    canonical_number,
    extract_answer,
    same_answer,
    shown_answer,
    without_stated_choice,
)


@pytest.mark.parametrize(
    ("kind", "text", "value", "rule"),
    [
        (NUMBER, "5 + 11 = 16 miles. The answer is 16.", "16", "cue"),
        (NUMBER, "So the final answer is: $1,234.50 in all.", "1234.5", "cue"),
        (NUMBER, "The answer is 3 * 4 = 12 cows.", "12", "cue"),
        (NUMBER, "The answer is 3. No, the answer is 4.", "4", "cue"),
        (NUMBER, "The answer is 64 = 60 + 4", "64", "cue"),
        (NUMBER, "So x is 4 and the answer is x = 4.", "4", "cue"),
        (NUMBER, "The answer is 5. I think the answer is clear.", "5", "cue"),
        (NUMBER, "#### 1,080", "1080", "cue"),
        (NUMBER, "He has 3 boxes of 4, so 12 apples.", "12", "last"),
        (NUMBER, "10-3 is left", "3", "last"),
        (NUMBER, "it falls to -7", "-7", "last"),
        (NUMBER, "B12 and x3", None, "none"),
        (NUMBER, "The answer is", None, "none"),
        (NUMBER, "He eats 5. The answer is not known", "5", "last"),
        (YES_NO, "Whales are long. So the answer is no.", "no", "cue"),
        (YES_NO, "The answer is Yes, because no bathtub is long.", "yes", "cue"),
        (YES_NO, "The answer is yes. I hope the answer is clear.", "yes", "cue"),
        (YES_NO, "Yes, it could.", "yes", "last"),
        (YES_NO, "That is so. True", "yes", "last"),
        (YES_NO, "There is no doubt about it.", None, "none"),
        (CHOICE, "x = 250 m. Answer D", "D", "cue"),
        (CHOICE, "ANSWER:C", "C", "cue"),
        (CHOICE, "The correct answer is option (b).", "B", "cue"),
        (CHOICE, "The answer is (E). A train is fast", "E", "cue"),
        (CHOICE, "Answer choices: (A) 12 (B) 13. It is (B)", "B", "last"),
        (CHOICE, "A train leaves the station", None, "none"),
        (CHOICE, "The answer is A different one, (C).", "C", "cue"),
        (CHOICE, "The answer is B because (A) is too small.", "B", "cue"),
        (CHOICE, "The answer is A because it is.", "A", "cue"),
        (CHOICE, "The answer is A because B is wrong.", "A", "cue"),
        (CHOICE, "The answer is A and not B", "A", "cue"),
        (TEXT, "The answer is Paris. The tower stands there.", "Paris", "cue"),
        (TEXT, "The answer is joy. The writer feels great.", "joy", "cue"),
        (TEXT, "The answer is the USA. It is large.", "the USA", "cue"),
        (TEXT, "The answer is ST. LOUIS by the river", "ST. LOUIS by the river", "cue"),
        (TEXT, "The answer is vol. 3 of it", "vol. 3 of it", "cue"),
        (CHOICE, "B) because f(x) grows", "B", "last"),
        (CHOICE, "Option A looks good. The best answer would be Rome.", None, "none"),
        (YES_NO, "Yes.\nFalse teeth are not teeth.", "yes", "last"),
        (TEXT, "The answer is J. K. Rowling.", "J. K. Rowling", "cue"),
        (TEXT, 'The answer is "St. Ives".\nIt lies by the sea.', "St. Ives", "cue"),
        (TEXT, "Bizet wrote it. The answer is France.", "France", "cue"),
        (TEXT, "He was born\nin France.", "in France", "last"),
        (TEXT, " \n ", None, "none"),
    ],
)
def test_what_is_read_and_by_which_rule(kind: str, text: str, value: str | None, rule: str) -> None:
    """Guards the forms in which gsm8k, svamp, strategyqa and aqua state answers, and texts that state none."""
    assert extract_answer(text, kind) == (value, rule)


def test_behind_a_cue_of_the_prompt_the_first_counts() -> None:
    """Guards answers behind "The answer is": what a model goes on to write must not replace its answer."""
    assert extract_answer(" 16. There are 3 more", NUMBER, cued=True).value == "16"
    assert extract_answer(" (B) or (C)", CHOICE, cued=True).value == "B"
    assert extract_answer(" b", CHOICE, cued=True).value == "B"
    assert extract_answer(" no.\nyes", YES_NO, cued=True).value == "no"


def test_only_letters_that_are_offered_count() -> None:
    """Guards a question with three choices against the answer (E)."""
    assert extract_answer("The answer is (E) or (B)", CHOICE, choices=3).value == "B"
    assert extract_answer("The answer is (E)", CHOICE, choices=3).value is None
    assert extract_answer("The answer is (L)", CHOICE, choices=12).value == "L"  # templates show twelve letters too
    assert extract_answer("The answer is (L)", CHOICE).value is None


@given(st.integers(-(10**30), 10**30), st.text(alphabet="abc ,.\n", max_size=30))
def test_a_stated_number_is_read_whatever_stands_before(number: int, before: str) -> None:
    """Guards thousands separators, signs and long numbers, which floats would round."""
    assert extract_answer(f"{before} The answer is {number:,}.", NUMBER) == (str(number), "cue")


@given(st.sampled_from(KINDS), st.text(max_size=120), st.booleans())
def test_reading_never_fails_and_what_is_read_is_canonical(kind: str, text: str, cued: bool) -> None:
    """Guards against a crash on what a model may write, and two forms of one answer that never meet in a vote."""
    value = extract_answer(text, kind, cued=cued).value
    if value is not None:
        assert same_answer(value, value, kind)
        assert kind == TEXT or canonical_answer(value, kind) == value


@given(st.sampled_from([NUMBER, YES_NO, CHOICE]), st.data())
def test_a_stated_answer_is_read_back(kind: str, data: st.DataObject) -> None:
    """Guards the form in which demonstrations state answers: what is shown must be what is read."""
    pool = {NUMBER: st.decimals(places=2, allow_nan=False, allow_infinity=False, min_value=-9999, max_value=9999)}
    pool |= {YES_NO: st.sampled_from(["yes", "no"]), CHOICE: st.sampled_from("ABCDE")}
    gold = canonical_answer(str(data.draw(pool[kind])), kind)
    assert extract_answer(f"Some steps. The answer is {shown_answer(gold, kind)}.", kind).value == gold


def test_numbers_have_one_form() -> None:
    """Guards gold answers such as 18.00 and 1,000 against answers 18 and 1000."""
    assert [canonical_number(text) for text in ("1,000", "018.00", "-0.0", ".5", "50%", "+3", "-$7")] == [
        *("1000", "18", "0", "0.5", "50", "3", "-7")
    ]
    assert canonical_number("3 apples") is None
    assert same_answer("18", "18.0", NUMBER)
    assert not same_answer(None, "18", NUMBER)
    assert same_answer("The  black sea", "the Black Sea", TEXT)


@pytest.mark.parametrize(("text", "kind"), [("many", NUMBER), ("maybe", YES_NO), ("12", CHOICE), (" ", TEXT)])
def test_a_gold_answer_of_another_kind_is_refused(text: str, kind: str) -> None:
    """Guards against data whose every answer would silently be wrong."""
    with pytest.raises(UsageError, match="is no"):
        canonical_answer(text, kind)


def test_an_unknown_kind_is_named() -> None:
    """Guards a misspelled --kind."""
    with pytest.raises(UnknownNameError, match="numeral"):
        extract_answer("1", "numeral")


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("x = 250 m. Answer D", "x = 250 m."),
        ("22X = 440\nX = 20\nANSWER:C", "22X = 440\nX = 20"),
        ("So it is 5.\nThe correct answer is option (B).", "So it is 5."),
        ("Answer B", "Answer B"),
        ("Twelve is enough.", "Twelve is enough."),
    ],
)
def test_a_rationale_does_not_state_its_choice_twice(text: str, kept: str) -> None:
    """Guards demonstrations of aqua, whose rationales end with the answer that the form states again."""
    assert without_stated_choice(text) == kept


@pytest.mark.parametrize(("name", "kind", "share"), [("gsm8k", NUMBER, 0.9), ("aqua", CHOICE, 0.7)])
def test_gold_rationales_hold_their_answers(name: str, kind: str, share: float, shared_data: Path) -> None:
    """Guards the rules against real texts: what people wrote leads to the gold answer, by whichever rule."""
    right = []
    for line in (shared_data / name / "test.jsonl").read_text(encoding="utf-8").strip().split("\n"):
        row = json.loads(line)
        gold = "ABCDE"[row["answer"]] if kind == CHOICE else row["answer"]
        right.append(same_answer(extract_answer(row["rationale"], kind).value, gold, kind))
    assert sum(right) / len(right) >= share
