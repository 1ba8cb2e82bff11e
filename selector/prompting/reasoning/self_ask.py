"""Self-Ask: the model asks itself follow-up questions, answers them, then the question (Press et al., 2022).

The paper lets the model write all of it in one go; here every follow-up question and every intermediate answer is a
generation of its own, which greedily gives the same text and can be traced and repaired. No search engine is asked.
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
    answer_stage,
    choices_of,
    written_behind,
)
from selector.prompting.reasoning.problems import Problem, same_question
from selector.prompting.reasoning.trace import Stage, Trace, make_trace
from selector.prompting.reasoning.wording import (
    FINAL,
    FOLLOW_UP,
    INTERMEDIATE,
    NEXT_QUESTION,
    self_ask_demonstration,
    self_ask_question,
)
from selector.prompting.window import fitted_prompt

_FOLLOW_UP = re.compile(rf"{FOLLOW_UP}[ \t]*(\S[^\n]*)")


class SelfAsk:
    """Answers by follow-up questions.

    Args:
        lm: The language model.
        worked: Solved problems with parts, shown with every question.
        kind: The kind of answer.
        config: How much is written; after `most_parts` follow-up questions the answer is asked for.

    Raises:
        UnknownNameError: When the kind is not known.
    """

    name = "self-ask"

    def __init__(
        self, lm: LanguageModel, worked: Sequence[Problem], *, kind: str, config: ReasoningConfig = DEFAULT_WRITING
    ) -> None:
        check_kind(kind)
        self._lm, self._worked, self._kind, self._config = lm, worked, kind, config

    def answer(self, problem: Problem) -> Trace:
        """Answers a problem; see `Reasoner.answer`."""
        shown = [self_ask_demonstration(one, self._kind) for one in self._worked if not same_question(one, problem)]
        said, stages, asked = self_ask_question(problem), list[Stage](), list[str]()
        while True:
            number = len(asked) + 1
            try:
                stage, final = self._asked(shown, said, problem, asked)
                stages.append(stage)
                if final or stage.malformed:
                    break
                asked.append(str(stage.extracted))
                # Only the follow-up question that was read goes on; what the model wrote around it does not.
                said += f"{' Yes.' if number == 1 else ''}\n{FOLLOW_UP} {asked[-1]}\n{INTERMEDIATE}"
                stages.append(self._answered(shown, said, problem, number))
                said += f" {stages[-1].extracted or UNKNOWN}"
            except PromptTooLongError:
                if not stages:
                    raise
                cut = "the window has no room for another part; the final answer is asked for"
                stages.append(Stage(f"part {number}", said, "", None, cut))
                break
            if len(asked) == self._config.most_parts:
                break
        if stages[-1].name == "answer" and stages[-1].extracted is not None:
            return make_trace(problem, self.name, stages, stages[-1].extracted, kind=self._kind)
        stages.append(self._forced(shown, said, problem))
        return make_trace(problem, self.name, stages, stages[-1].extracted, kind=self._kind)

    def _asked(self, shown: Sequence[str], said: str, problem: Problem, asked: Sequence[str]) -> tuple[Stage, bool]:
        """A follow-up question, or the final answer."""
        stops = (f"\n{INTERMEDIATE}", "\n\n", *NEXT_QUESTION)
        prompt, text = written_behind(self._lm, shown, said, problem, stop=stops, tokens=self._config.part_tokens)
        if FINAL in text:
            behind = text.partition(FINAL)[2]
            value = extract_answer(behind, self._kind, cued=True, choices=choices_of(problem)).value
            wrong = "" if value is not None else f"the final answer holds no {self._kind}; it is asked for again"
            return Stage("answer", prompt, text, value, wrong), True
        name, found = f"follow-up {len(asked) + 1}", _FOLLOW_UP.search(text)
        if found is None:
            wrong = "neither a follow-up question nor a final answer; the final answer is asked for"
            return Stage(name, prompt, text, None, wrong), False
        question = found[1].strip()
        repeated = question.casefold() in (earlier.casefold() for earlier in asked)
        wrong = "a follow-up question that was asked before; the final answer is asked for" if repeated else ""
        return Stage(name, prompt, text, question, wrong), False

    def _answered(self, shown: Sequence[str], said: str, problem: Problem, number: int) -> Stage:
        prompt, text = written_behind(self._lm, shown, said, problem, stop=("\n",), tokens=self._config.part_tokens)
        value = text.strip() or None
        wrong = "" if value else f"an empty intermediate answer; {UNKNOWN!r} stands in its place"
        return Stage(f"intermediate answer {number}", prompt, text, value, wrong)

    def _forced(self, shown: Sequence[str], said: str, problem: Problem) -> Stage:
        asked = f"{said}\n{FINAL}"
        try:
            prompt = fitted_prompt(self._lm, shown, asked, reserve=self._config.answer_tokens, uid=problem.uid)
        except PromptTooLongError:
            return Stage("answer", asked, "", None, "the window has no room to ask for the answer")
        return answer_stage(self._lm, prompt, problem, kind=self._kind, config=self._config)
