"""Direct answers and chains of thought, few-shot (Wei et al., 2022) and zero-shot (Kojima et al., 2022).

A direct answer is what a chain of thought is compared with. Where a text holds no answer, the answer is asked for once
more behind it, and the stage is counted as malformed. This module does not know where demonstrations come from.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from selector.errors import PromptTooLongError
from selector.lm.base import LanguageModel
from selector.prompting.reasoning.answers import MOST_CHOICES, check_kind, extract_answer
from selector.prompting.reasoning.problems import Problem
from selector.prompting.reasoning.shown import Shown
from selector.prompting.reasoning.trace import Stage, Trace, make_trace
from selector.prompting.reasoning.wording import (
    ANSWER_IS,
    FEW_SHOT_ENDS,
    NEXT_QUESTION,
    QUESTIONS,
    STEP_BY_STEP,
    TRIGGERS,
    chain_demonstration,
    direct_demonstration,
    question_text,
)
from selector.prompting.window import fitted_prompt

UNKNOWN = "unknown"  # stands where a part has no answer


@dataclass(frozen=True)
class ReasoningConfig:
    """How much is written.

    Attributes:
        rationale_tokens: The longest rationale, tokens.
        part_tokens: The longest simpler question, or the answer to one, tokens.
        answer_tokens: The longest final answer, tokens.
        most_parts: The most parts into which a question is taken.
    """

    rationale_tokens: int = 192
    part_tokens: int = 64
    answer_tokens: int = 16
    most_parts: int = 5


DEFAULT_WRITING: Final = ReasoningConfig()
_ANSWER_MARK: Final = re.compile(r"\A[\s:]*\n\s*A:")  # opens the next line as it opens the answers of demonstrations


class Reasoner(Protocol):
    """Answers problems one by one and shows how."""

    @property
    def name(self) -> str:
        """Stands in traces."""
        ...

    def answer(self, problem: Problem) -> Trace:
        """Answers a problem.

        Args:
            problem: The problem; its answer is only compared with, its rationale and parts are not looked at.

        Returns:
            The whole way to the answer.

        Raises:
            PromptTooLongError: When the question alone does not fit into the window.
        """
        ...


def choices_of(problem: Problem) -> int:
    """Says how many letters may be answered.

    Args:
        problem: The problem.

    Returns:
        The number of its choices, or 10 where that is not known.
    """
    return problem.choices or MOST_CHOICES


def forced_answer(lm: LanguageModel, so_far: str, problem: Problem, *, kind: str, config: ReasoningConfig) -> Stage:
    """Asks for the answer behind a text that ends without one (Kojima et al., 2022, stage 2).

    Args:
        lm: The language model.
        so_far: Prompt and text.
        problem: What is answered.
        kind: The kind of answer.
        config: How much is written.

    Returns:
        The stage; malformed where the window has no room for it, or no answer is in it.
    """
    asked = f"{so_far.rstrip()}\n{TRIGGERS[kind]}"
    try:
        prompt = fitted_prompt(lm, (), asked, reserve=config.answer_tokens, uid=problem.uid)
    except PromptTooLongError as error:
        return Stage("answer", asked, "", None, f"the window has no room to ask for the answer ({error.tokens} tokens)")
    return answer_stage(lm, prompt, problem, kind=kind, config=config)


def written_behind(
    lm: LanguageModel, shown: Sequence[str], query: str, problem: Problem, *, stop: Sequence[str], tokens: int
) -> tuple[str, str]:
    """Lets the model go on behind demonstrations and a query.

    Args:
        lm: Writes, greedily.
        shown: Demonstrations as texts; the first are left out where the window is short.
        query: What it goes on from.
        problem: What the query belongs to.
        stop: Texts before which it stops.
        tokens: The longest text.

    Returns:
        The prompt and what was written behind it.

    Raises:
        PromptTooLongError: When the query alone does not fit.
    """
    prompt = fitted_prompt(lm, shown, query, reserve=tokens, uid=problem.uid)
    (text,) = lm.generate([prompt], max_new_tokens=tokens, stop=stop)
    return prompt, text


def answer_stage(lm: LanguageModel, prompt: str, problem: Problem, *, kind: str, config: ReasoningConfig) -> Stage:
    """Lets the answer be written behind a prompt that announces it, and reads it.

    Small models often write a colon, or nothing, and the answer on the next line: they are then let write on.

    Args:
        lm: The language model.
        prompt: Ends in what announces the answer.
        problem: What is answered.
        kind: The kind of answer.
        config: How much is written.

    Returns:
        The stage; malformed where no answer is in it.
    """
    (text,) = lm.generate([prompt], max_new_tokens=config.answer_tokens, stop=("\n",))
    if not text.strip(" \t:"):
        (text,) = lm.generate([prompt], max_new_tokens=config.answer_tokens, stop=QUESTIONS)
    value = extract_answer(_ANSWER_MARK.sub("", text), kind, cued=True, choices=choices_of(problem)).value
    return Stage("answer", prompt, text, value, "" if value is not None else f"no {kind} is in it; it stays unanswered")


class DirectAnswer:
    """Answers at once, behind demonstrations without reasoning: the absence of a chain of thought.

    Args:
        lm: The language model.
        shown: Chooses demonstrations.
        kind: The kind of answer.
        config: How much is written.

    Raises:
        UnknownNameError: When the kind is not known.
    """

    name = "direct"

    def __init__(
        self, lm: LanguageModel, shown: Shown, *, kind: str, config: ReasoningConfig = DEFAULT_WRITING
    ) -> None:
        check_kind(kind)
        self._lm, self._shown, self._kind, self._config = lm, shown, kind, config

    def answer(self, problem: Problem) -> Trace:
        """Answers a problem; see `Reasoner.answer`."""
        shown = [direct_demonstration(one, self._kind) for one in self._shown(problem)]
        query = f"{question_text(problem)} {ANSWER_IS}"
        reserve = self._config.answer_tokens
        prompt = fitted_prompt(self._lm, shown, query, reserve=reserve, uid=problem.uid)
        stage = answer_stage(self._lm, prompt, problem, kind=self._kind, config=self._config)
        return make_trace(problem, self.name, [stage], stage.extracted, kind=self._kind)


class ChainOfThought:
    """Writes a rationale behind demonstrations with rationales, then reads the answer in it (Wei et al., 2022).

    Args:
        lm: The language model.
        shown: Chooses demonstrations, each with rationale and answer.
        kind: The kind of answer.
        opening: Stands before every rationale, that of the query too.
        config: How much is written.
        name: Stands in traces.

    Raises:
        UnknownNameError: When the kind is not known.
    """

    def __init__(
        self,
        lm: LanguageModel,
        shown: Shown,
        *,
        kind: str,
        opening: str = "",
        config: ReasoningConfig = DEFAULT_WRITING,
        name: str = "cot",
    ) -> None:
        check_kind(kind)
        self.name = name
        self.lm, self.kind, self.config = lm, kind, config
        self._shown, self._opening = shown, opening

    def prompt(self, problem: Problem) -> str:
        """Renders the prompt.

        Args:
            problem: The problem.

        Returns:
            The text that the rationale follows; demonstrations are dropped from the front where the window is short.

        Raises:
            PromptTooLongError: When the question alone does not fit.
        """
        shown = [chain_demonstration(one, self.kind, opening=self._opening) for one in self._shown(problem)]
        query = " ".join(text for text in (question_text(problem), self._opening) if text)
        return fitted_prompt(self.lm, shown, query, reserve=self.config.rationale_tokens, uid=problem.uid)

    def read(self, problem: Problem, prompt: str, text: str) -> Stage:
        """Reads the answer in a rationale.

        Args:
            problem: The problem.
            prompt: What the rationale was written behind.
            text: The rationale.

        Returns:
            The stage; malformed where no cue announces an answer, with what stands last as the answer, if anything.
        """
        found = extract_answer(text, self.kind, choices=choices_of(problem))
        wrong = {
            "cue": "",
            "last": f"no '{ANSWER_IS}' announces the answer; the {self.kind} that stands last is taken",
            "none": f"it holds no {self.kind}",
        }[found.rule]
        return Stage("rationale", prompt, text, found.value, wrong)

    def answer(self, problem: Problem) -> Trace:
        """Answers a problem; see `Reasoner.answer`."""
        prompt = self.prompt(problem)
        (text,) = self.lm.generate([prompt], max_new_tokens=self.config.rationale_tokens, stop=FEW_SHOT_ENDS)
        stages = [self.read(problem, prompt, text)]
        if stages[0].extracted is None:
            stages.append(forced_answer(self.lm, prompt + text, problem, kind=self.kind, config=self.config))
        return make_trace(problem, self.name, stages, stages[-1].extracted, kind=self.kind)


class ZeroShotChainOfThought:
    """Thinks step by step without demonstrations, then is asked for the answer (Kojima et al., 2022).

    Args:
        lm: The language model.
        kind: The kind of answer.
        config: How much is written.

    Raises:
        UnknownNameError: When the kind is not known.
    """

    name = "zero-shot-cot"

    def __init__(self, lm: LanguageModel, *, kind: str, config: ReasoningConfig = DEFAULT_WRITING) -> None:
        check_kind(kind)
        self._lm, self._kind, self._config = lm, kind, config

    def answer(self, problem: Problem) -> Trace:
        """Answers a problem in two stages, as published: rationale, answer; see `Reasoner.answer`."""
        query, tokens = f"{question_text(problem)} {STEP_BY_STEP}", self._config.rationale_tokens
        prompt, text = written_behind(self._lm, (), query, problem, stop=NEXT_QUESTION, tokens=tokens)
        wrong = "" if text.strip() else "it is empty; the answer is asked for without it"
        stages = [Stage("rationale", prompt, text, None, wrong)]
        stages.append(forced_answer(self._lm, prompt + text, problem, kind=self._kind, config=self._config))
        return make_trace(problem, self.name, stages, stages[-1].extracted, kind=self._kind)
