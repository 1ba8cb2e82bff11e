"""Tests of Self-Ask and Least-to-Most over recorded generations, well-formed and not."""

from __future__ import annotations

from typing import Any

import pytest

from selector.prompting.reasoning.answers import NUMBER
from selector.prompting.reasoning.chain import ReasoningConfig
from selector.prompting.reasoning.least_to_most import LeastToMost, read_parts
from selector.prompting.reasoning.problems import Problem
from selector.prompting.reasoning.self_ask import SelfAsk
from selector.prompting.reasoning.trace import Stage
from selector.prompting.reasoning.worked import WORKED
from selector.testing import ScriptedLanguageModel

NEEDED, FINAL = "needed here:", "So the final answer is:"


def names(stages: tuple[Stage, ...]) -> list[str]:
    return [stage.name for stage in stages]


def test_self_ask_asks_answers_and_composes(scripted: Any, asked: Problem) -> None:
    """Guards the stages: each follow-up is generated, answered and stands in the next prompt, in the published form."""
    lm = scripted(
        {
            NEEDED: " Yes.\nFollow up: How many figs does she pick?\nIntermediate answer: 7",
            "she pick?\nIntermediate answer:": " She picks 20.\nFollow up: made up",
            "She picks 20.": "\nFollow up: What is 10 + 20?\nIntermediate answer: 8",
            "10 + 20?\nIntermediate answer:": " 10 + 20 = 30.",
            "10 + 20 = 30.": f"\n{FINAL} 30\n\nQuestion: next",
        }
    )
    trace = SelfAsk(lm, WORKED[NUMBER], kind=NUMBER).answer(asked)
    assert names(trace.stages) == [
        *("follow-up 1", "intermediate answer 1", "follow-up 2", "intermediate answer 2", "answer")
    ]
    assert (trace.answer, trace.right, trace.malformed) == ("30", True, 0)
    assert trace.stages[-1].prompt.endswith(
        "Are follow up questions needed here: Yes.\nFollow up: How many figs does she pick?\n"
        "Intermediate answer: She picks 20.\nFollow up: What is 10 + 20?\nIntermediate answer: 10 + 20 = 30."
    )
    shown = trace.text()
    for stage in trace.stages:
        assert stage.prompt in shown
        assert stage.generation in shown


@pytest.mark.parametrize(
    ("replies", "stages", "answer", "fragment"),
    [
        ({NEEDED: " No.\nSo the final answer is: 30"}, ["answer"], "30", ""),
        ({NEEDED: " I like figs", FINAL: " 30"}, ["follow-up 1", "answer"], "30", "neither a follow-up"),
        ({NEEDED: f" No.\n{FINAL} many", FINAL: " 30"}, ["answer", "answer"], "30", "asked for again"),
        ({NEEDED: " I like figs", FINAL: " many"}, ["follow-up 1", "answer"], None, "stays unanswered"),
        (
            {NEEDED: " Yes.\nFollow up: Why?", "Intermediate answer:": "\n", "unknown": f"\n{FINAL} 3"},
            ["follow-up 1", "intermediate answer 1", "answer"],
            "3",
            "'unknown' stands in its place",
        ),
        (
            {NEEDED: " Yes.\nFollow up: Why?", "answer:": " So.", "So.": "\nFollow up: why?", FINAL: " 3"},
            ["follow-up 1", "intermediate answer 1", "follow-up 2", "answer"],
            "3",
            "asked before",
        ),
    ],
)
def test_self_ask_survives_what_is_malformed(
    scripted: Any, asked: Problem, replies: dict[str, str], stages: list[str], answer: str | None, fragment: str
) -> None:
    """Guards every branch of a malformed generation: the stated fallback is taken, counted and shown."""
    trace = SelfAsk(scripted(replies), (), kind=NUMBER).answer(asked)
    assert (names(trace.stages), trace.answer) == (stages, answer)
    assert (trace.malformed > 0) == bool(fragment)
    assert fragment in trace.text()


def test_self_ask_ends_after_the_most_parts(asked: Problem) -> None:
    """Guards against a model that asks for ever."""
    count = iter(range(100))
    lm = ScriptedLanguageModel(
        lambda prompt, seed: " 30" if prompt.endswith(FINAL) else f" Yes.\nFollow up: Number {next(count)}?"
    )
    trace = SelfAsk(lm, (), kind=NUMBER, config=ReasoningConfig(most_parts=2)).answer(asked)
    assert (len(trace.stages), trace.answer) == (5, "30")


def test_least_to_most_takes_apart_answers_and_composes(scripted: Any, asked: Problem) -> None:
    """Guards the stages: every part sees those before it, the question's own last sentence is asked at the end."""
    lm = scripted(
        {
            "in turn:\n1.": " How many has she at first?\n2. How many does she pick?\n3. How many has she?\n\nProblem:",
            "at first?\nA:": " 10 figs.\nQ: made up",
            "she pick?\nA:": " 20 figs.",
            "\nQ: How many has she?\nA:": " 10 + 20 = 30. The answer is 30.",
        }
    )
    trace = LeastToMost(lm, WORKED[NUMBER], kind=NUMBER).answer(asked)
    assert names(trace.stages) == ["decompose", "part 1 of 2", "part 2 of 2", "compose"]
    assert (trace.answer, trace.right, trace.malformed) == ("30", True, 0)
    assert trace.stages[0].extracted == "How many has she at first? | How many does she pick?"
    assert trace.stages[-1].prompt.endswith(
        f"Problem: {asked.question}\nQ: How many has she at first?\nA: 10 figs.\n"
        "Q: How many does she pick?\nA: 20 figs.\nQ: How many has she?\nA:"
    )


@pytest.mark.parametrize(
    ("replies", "stages", "answer", "fragment"),
    [
        ({"1.": "", "A:": " The answer is 30."}, ["decompose", "compose"], "30", "answered in one piece"),
        ({"1.": " Why?", "Why?\nA:": "", "A:": " 30"}, ["decompose", "part 1 of 1", "compose"], "30", "'unknown'"),
        ({"1.": "", "A:": " figs", "is": " 30"}, ["decompose", "compose", "answer"], "30", "asked for again"),
    ],
)
def test_least_to_most_survives_what_is_malformed(
    scripted: Any, asked: Problem, replies: dict[str, str], stages: list[str], answer: str, fragment: str
) -> None:
    """Guards a list without parts, an empty part and an answer without number: counted, shown, gone on from."""
    trace = LeastToMost(scripted(replies), (), kind=NUMBER).answer(asked)
    assert (names(trace.stages), trace.answer) == (stages, answer)
    assert trace.malformed > 0
    assert fragment in trace.text()


@pytest.mark.parametrize("method", [SelfAsk, LeastToMost])
def test_a_window_that_grows_full_ends_the_parts_and_not_the_run(method: Any, asked: Problem) -> None:
    """Guards growing prompts: where another part does not fit, the trace says so, and no prompt is over the window."""
    full = []
    for window in range(44, 120, 4):
        count = iter(range(100))

        def reply(prompt: str, seed: int, count: Any = count) -> str:
            del seed
            if prompt.endswith("1."):
                return " First one?\n2. Second one?\n3. Third?"
            return f" Yes, that is it.\nFollow up: Number {next(count)}?"

        lm = ScriptedLanguageModel(reply, context_length=window)
        trace = method(lm, (), kind=NUMBER, config=ReasoningConfig(part_tokens=8, answer_tokens=4)).answer(asked)
        assert all(lm.count_tokens([prompt])[0] < window for prompt in lm.prompts)
        assert trace.stages[-1].name in ("answer", "compose")
        full.append(any("window has no room" in stage.malformed for stage in trace.stages))
    assert full[0]
    assert not full[-1]


def test_reading_parts() -> None:
    """Guards lists with quotes, brackets, repetitions, the question itself, and text that is no list."""
    text = '1. "How many?"\n2) How much?\n3. how many?\nnone\n4. The end?\n5. Fifth?'
    assert read_parts(text, question="The end?", most=5) == ["How many?", "How much?", "Fifth?"]
    assert read_parts(text, question="The end?", most=1) == ["How many?"]
    assert read_parts("1.", question="x", most=3) == []
