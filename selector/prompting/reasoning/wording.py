"""Every text that is put before a language model in reasoning: forms, triggers, and where writing stops.

Questions and answers stand as in the papers; this module knows nothing of models or of how answers are read.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from types import MappingProxyType
from typing import Final

from selector.prompting.reasoning.answers import (
    CHOICE,
    NUMBER,
    TEXT,
    YES_NO,
    shown_answer,
    without_stated_choice,
)
from selector.prompting.reasoning.problems import Problem

STEP_BY_STEP: Final = "Let's think step by step."  # the trigger of Kojima et al. (2022)
ANSWER_IS: Final = "The answer is"
TRIGGERS: Final = MappingProxyType(  # what asks for the answer behind a rationale, Kojima et al. (2022), table A.2
    {
        NUMBER: "Therefore, the answer (arabic numerals) is",
        YES_NO: "Therefore, the answer (Yes or No) is",
        CHOICE: "Therefore, the letter of the right answer is",
        TEXT: "Therefore, the answer is",
    }
)
QUESTIONS: Final = ("\nQ:", "\nQuestion:")
NEXT_QUESTION: Final = (*QUESTIONS, "\nA:")  # small models also answer a second time
FEW_SHOT_ENDS: Final = ("\n\n", *NEXT_QUESTION)
# Self-Ask (Press et al., 2022).
NEEDED: Final = "Are follow up questions needed here:"
FOLLOW_UP: Final = "Follow up:"
INTERMEDIATE: Final = "Intermediate answer:"
FINAL: Final = "So the final answer is:"

_BLANK_LINES = re.compile(r"\n\s*\n+")
_QUESTION = re.compile(r"(?:^|(?<=[.!?\n]))\s*((?:[^.!?\n]|\.(?=[0-9]))+\?)")  # the point of 3.5 ends no sentence


def question_text(problem: Problem) -> str:
    """Asks a question, up to where its answer stands.

    Args:
        problem: The problem.

    Returns:
        The text, without the space behind it.
    """
    return f"Q: {problem.question}\nA:"


def stated_answer(problem: Problem, kind: str) -> str:
    """States a gold answer as answers are to be stated.

    Args:
        problem: An answered problem.
        kind: The kind of answer.

    Returns:
        A sentence.
    """
    return f"{ANSWER_IS} {shown_answer(str(problem.answer), kind)}."


def direct_demonstration(problem: Problem, kind: str) -> str:
    """Shows a question and its answer, without reasoning.

    Args:
        problem: An answered problem.
        kind: The kind of answer.

    Returns:
        The text.
    """
    return f"{question_text(problem)} {stated_answer(problem, kind)}"


def chain_demonstration(problem: Problem, kind: str, *, opening: str = "") -> str:
    """Shows a question, its rationale and its answer (Wei et al., 2022).

    Args:
        problem: An answered problem with a rationale.
        kind: The kind of answer.
        opening: Stands before the rationale.

    Returns:
        The text, without blank lines: they divide demonstrations.
    """
    rationale = without_stated_choice(problem.rationale) if kind == CHOICE else problem.rationale
    rationale = _BLANK_LINES.sub("\n", rationale.strip())
    reasoned = " ".join(text for text in (opening, rationale, stated_answer(problem, kind)) if text)
    return f"{question_text(problem)} {reasoned}"


def self_ask_question(problem: Problem) -> str:
    """Asks a question in the form of Self-Ask.

    Args:
        problem: The problem.

    Returns:
        The text up to where the model says whether it needs follow-up questions.
    """
    return f"Question: {problem.question}\n{NEEDED}"


def self_ask_demonstration(problem: Problem, kind: str) -> str:
    """Shows a question with its follow-up questions (Press et al., 2022).

    Args:
        problem: An answered problem with parts.
        kind: The kind of answer.

    Returns:
        The text.
    """
    asked = "".join(f"\n{FOLLOW_UP} {part}\n{INTERMEDIATE} {answer}" for part, answer in problem.parts)
    return f"{self_ask_question(problem)} Yes.{asked}\n{FINAL} {shown_answer(str(problem.answer), kind)}"


def decomposition_question(problem: Problem) -> str:
    """Asks for the parts of a question, up to the first of them.

    Args:
        problem: The problem.

    Returns:
        The text; it ends with the number of the first part.
    """
    return f"Problem: {problem.question}\nTo solve it, answer these questions in turn:\n1."


def decomposition_demonstration(problem: Problem) -> str:
    """Shows how a question falls into parts (Zhou et al., 2022, stage 1).

    Args:
        problem: A problem with parts.

    Returns:
        The text.
    """
    numbered = [f"{number}. {part}" for number, (part, _) in enumerate(problem.parts, start=1)]
    return decomposition_question(problem).removesuffix("1.") + "\n".join(numbered)


def last_question(problem: Problem) -> str:
    """Finds what a problem asks in the end, which is asked again when its parts are answered.

    Args:
        problem: The problem.

    Returns:
        Its last sentence with a question mark; the whole question where there is none.
    """
    text = problem.question.partition("\nAnswer choices:")[0]
    asked = _QUESTION.findall(text)
    return str(asked[-1]).strip() if asked else text


def parts_question(problem: Problem, answered: Sequence[tuple[str, str]], asked: str) -> str:
    """Asks one part of a problem behind those that are answered (Zhou et al., 2022, stage 2).

    Args:
        problem: The problem.
        answered: Earlier parts with their answers.
        asked: The part that is asked now.

    Returns:
        The text up to where the answer stands.
    """
    earlier = "".join(f"\nQ: {part}\nA: {answer}" for part, answer in answered)
    return f"Problem: {problem.question}{earlier}\nQ: {asked}\nA:"


def parts_demonstration(problem: Problem, kind: str) -> str:
    """Shows a problem that is solved part by part.

    Args:
        problem: An answered problem with parts.
        kind: The kind of answer.

    Returns:
        The text; the answer is stated behind the problem's own question.
    """
    return f"{parts_question(problem, problem.parts, last_question(problem))} {stated_answer(problem, kind)}"
