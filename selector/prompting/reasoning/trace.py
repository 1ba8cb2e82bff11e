"""The whole way from a question to its answer: every prompt, every generation, what was read and what went wrong.

Nothing is left out, so that a person can see why an answer is what it is. This module knows nothing of models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from selector.inference.answers import answer_rule
from selector.prompting.reasoning.answers import TEXT, same_answer
from selector.prompting.reasoning.problems import Problem


@dataclass(frozen=True, slots=True)
class Stage:
    """One generation.

    Attributes:
        name: What it was for ("rationale", "decompose", "part 2", "answer").
        prompt: What the language model was given, whole.
        generation: What it wrote; empty where it was not asked.
        extracted: What was read in it; None where nothing was.
        malformed: What was wrong with it and what was done instead; empty where nothing was wrong.
    """

    name: str
    prompt: str
    generation: str
    extracted: str | None
    malformed: str = ""


@dataclass(frozen=True, slots=True)
class Trace:
    """One answered question.

    Attributes:
        uid: Of the problem.
        method: What answered it.
        question: Its text.
        stages: Every generation in order.
        answer: The answer; None where none could be read.
        gold: The gold answer, where known.
        right: Whether they are the same; None where the gold answer is not known.
        remark: How the answer was decided, where that is not plain ("3 of 5 votes").
    """

    uid: str
    method: str
    question: str
    stages: tuple[Stage, ...]
    answer: str | None
    gold: str | None
    right: bool | None
    remark: str = ""

    @property
    def malformed(self) -> int:
        """How many generations were not as they should be."""
        return sum(bool(stage.malformed) for stage in self.stages)

    def text(self) -> str:
        """Lays the trace out for a person.

        Returns:
            Every stage with prompt, generation, what was read and what was malformed, as they are.
        """
        lines = [f"=== {self.uid} by {self.method}"]
        for number, stage in enumerate(self.stages, start=1):
            lines += [f"--- {number}. {stage.name}: prompt", stage.prompt, f"--- {number}. {stage.name}: generation"]
            lines += [stage.generation, f"--- {number}. {stage.name}: read: {stage.extracted!r}"]
            lines += [f"--- {number}. {stage.name}: malformed: {stage.malformed}"] if stage.malformed else []
        verdict = {True: "right", False: "wrong", None: "no gold answer"}[self.right]
        remark = f"; {self.remark}" if self.remark else ""
        return "\n".join([*lines, f"=== answer {self.answer!r}, gold {self.gold!r}: {verdict}{remark}"])

    def as_json(self) -> dict[str, Any]:
        """Gives the trace as json can write it.

        Returns:
            Every attribute and the count of malformed generations.
        """
        return {**asdict(self), "malformed": self.malformed}


@dataclass(frozen=True, slots=True)
class TraceSummary:
    """What many traces say together.

    Attributes:
        problems: How many were answered.
        right: How many of them rightly; those without gold answer are not.
        unanswered: In how many no answer could be read.
        generations: How many texts were written.
        malformed: How many of those were not as they should be.
    """

    problems: int
    right: int
    unanswered: int
    generations: int
    malformed: int


def make_trace(
    problem: Problem, method: str, stages: Sequence[Stage], answer: str | None, *, kind: str, remark: str = ""
) -> Trace:
    """Closes a trace and judges its answer.

    Args:
        problem: What was asked.
        method: What answered.
        stages: Every generation.
        answer: The answer, or None.
        kind: The kind of answer.
        remark: How it was decided.

    Returns:
        The trace.
    """
    right = None if problem.answer is None else _is_right(answer, problem, problem.answer, kind)
    return Trace(problem.uid, method, problem.question, tuple(stages), answer, problem.answer, right, remark)


def _is_right(answer: str | None, problem: Problem, gold: str, kind: str) -> bool:
    """Whether an answer is the gold one or an alias of it, by the rule of the problem where answers are texts."""
    if kind != TEXT or answer is None:
        return same_answer(answer, gold, kind)
    folded = answer_rule(problem.answer_rule).folded
    return folded(answer) in {folded(text) for text in (gold, *problem.aliases)}


def summarise(traces: Sequence[Trace]) -> TraceSummary:
    """Counts.

    Args:
        traces: Of one method.

    Returns:
        The counts.
    """
    return TraceSummary(
        problems=len(traces),
        right=sum(trace.right is True for trace in traces),
        unanswered=sum(trace.answer is None for trace in traces),
        generations=sum(len(trace.stages) for trace in traces),
        malformed=sum(trace.malformed for trace in traces),
    )
