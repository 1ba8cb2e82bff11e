"""Least-to-Most: a question is taken apart, its parts are answered in turn, then the question (Zhou et al., 2023).

Every part is answered with all earlier parts and their answers in the prompt; the question's own last sentence is asked
at the end. Where no parts can be read, the question is answered in one piece, and the stage is counted as malformed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from selector.errors import PromptTooLongError
from selector.lm.base import LanguageModel
from selector.prompting.reasoning.answers import check_kind, extract_answer
from selector.prompting.reasoning.chain import (
    DEFAULT_WRITING,
    UNKNOWN,
    ReasoningConfig,
    choices_of,
    forced_answer,
    written_behind,
)
from selector.prompting.reasoning.problems import Problem, same_question
from selector.prompting.reasoning.trace import Stage, Trace, make_trace
from selector.prompting.reasoning.wording import (
    ANSWER_IS,
    decomposition_demonstration,
    decomposition_question,
    last_question,
    parts_demonstration,
    parts_question,
)

_NUMBERED = re.compile(r"^\s*[0-9]+[.)][ \t]*(\S[^\n]*)$", re.MULTILINE)
ENDS = ("\n\n", "\nProblem:", "\nQ:")


def read_parts(text: str, *, question: str, most: int) -> list[str]:
    """Reads a numbered list of questions.

    Args:
        text: The list, its first number included.
        question: What is asked in the end, which is no part.
        most: The most parts.

    Returns:
        Distinct parts in their order.
    """
    found: dict[str, str] = {}
    for part in _NUMBERED.findall(text):
        cleaned = part.strip().strip("\"'").strip()
        if cleaned and cleaned.casefold() != question.casefold():
            found.setdefault(cleaned.casefold(), cleaned)
    return list(found.values())[:most]


class LeastToMost:
    """Answers by parts.

    Args:
        lm: The language model.
        worked: Solved problems with parts, shown in both stages.
        kind: The kind of answer.
        config: How much is written, and the most parts.

    Raises:
        UnknownNameError: When the kind is not known.
    """

    name = "least-to-most"

    def __init__(
        self, lm: LanguageModel, worked: Sequence[Problem], *, kind: str, config: ReasoningConfig = DEFAULT_WRITING
    ) -> None:
        check_kind(kind)
        self._lm, self._worked, self._kind, self._config = lm, worked, kind, config

    def answer(self, problem: Problem) -> Trace:
        """Answers a problem; see `Reasoner.answer`."""
        worked = [one for one in self._worked if not same_question(one, problem)]
        parts, stage = self._decomposed(worked, problem)
        stages, answered = [stage], list[tuple[str, str]]()
        shown = [parts_demonstration(one, self._kind) for one in worked]
        for number, part in enumerate(parts, start=1):
            query, name = parts_question(problem, answered, part), f"part {number} of {len(parts)}"
            try:
                prompt, text = written_behind(
                    self._lm, shown, query, problem, stop=("\n",), tokens=self._config.part_tokens
                )
            except PromptTooLongError:
                stages.append(Stage(name, query, "", None, "the window has no room for it; it is left out"))
                break
            value = text.strip() or None
            wrong = "" if value else f"an empty answer; {UNKNOWN!r} stands in its place"
            stages.append(Stage(name, prompt, text, value, wrong))
            answered.append((part, value or UNKNOWN))
        stages += self._composed(shown, problem, answered)
        return make_trace(problem, self.name, stages, stages[-1].extracted, kind=self._kind)

    def _decomposed(self, worked: Sequence[Problem], problem: Problem) -> tuple[list[str], Stage]:
        shown = [decomposition_demonstration(one) for one in worked]
        tokens = self._config.part_tokens * 2
        prompt, text = written_behind(
            self._lm, shown, decomposition_question(problem), problem, stop=ENDS, tokens=tokens
        )
        parts = read_parts(f"1.{text}", question=last_question(problem), most=self._config.most_parts)
        wrong = "" if parts else "it lists no parts; the question is answered in one piece"
        return parts, Stage("decompose", prompt, text, " | ".join(parts) or None, wrong)

    def _composed(
        self, shown: Sequence[str], problem: Problem, answered: Sequence[tuple[str, str]]
    ) -> tuple[Stage, ...]:
        """The question itself behind its answered parts, and once more for the answer where that holds none."""
        query = parts_question(problem, answered, last_question(problem))
        try:
            prompt, text = written_behind(self._lm, shown, query, problem, stop=ENDS, tokens=self._config.part_tokens)
        except PromptTooLongError:
            return (Stage("compose", query, "", None, "the window has no room for it; it stays unanswered"),)
        found = extract_answer(text, self._kind, choices=choices_of(problem))
        wrong = {
            "cue": "",
            "last": f"no '{ANSWER_IS}' announces the answer; the {self._kind} that stands last is taken",
            "none": f"it holds no {self._kind}; the answer is asked for again",
        }[found.rule]
        stage = Stage("compose", prompt, text, found.value, wrong)
        if found.value is not None:
            return (stage,)
        return stage, forced_answer(self._lm, prompt + text, problem, kind=self._kind, config=self._config)
