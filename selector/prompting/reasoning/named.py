"""From the name of a reasoning method to the reasoner, and from problems to traces."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from selector.errors import PromptTooLongError, TooFewExamplesError, UnknownNameError
from selector.lm.base import LanguageModel
from selector.progress import SILENT, Progress
from selector.prompting.reasoning.auto_cot import AutoCoT, AutoCoTConfig, build_auto_cot
from selector.prompting.reasoning.chain import (
    ChainOfThought,
    DirectAnswer,
    Reasoner,
    ReasoningConfig,
    ZeroShotChainOfThought,
)
from selector.prompting.reasoning.least_to_most import LeastToMost
from selector.prompting.reasoning.problems import Problem
from selector.prompting.reasoning.self_ask import SelfAsk
from selector.prompting.reasoning.self_consistency import SamplingConfig, SelfConsistency
from selector.prompting.reasoning.shown import (
    EMBEDDING_WAYS,
    choose_demonstrations,
    fixed_demonstrations,
    with_rationale,
)
from selector.prompting.reasoning.trace import Stage, Trace
from selector.prompting.reasoning.trace_file import TraceFile
from selector.prompting.reasoning.wording import STEP_BY_STEP
from selector.prompting.reasoning.worked import worked_demonstrations
from selector.retrieval.encoder import TextEncoder

METHODS: Final = ("direct", "cot", "zero-shot-cot", "auto-cot", "self-consistency", "self-ask", "least-to-most")


@dataclass(frozen=True)
class ReasoningPlan:
    """Which method answers, and how.

    Attributes:
        method: One of `METHODS`.
        kind: The kind of answer.
        shots: Demonstrations in each prompt; of Auto-CoT the number of clusters.
        choose: How demonstrations are chosen; see `choose_demonstrations`.
        seed: Seeds their choice.
        writing: How much is written.
        sampling: How self-consistency samples.
        auto_cot: The filters of Auto-CoT; its number of clusters and seed are `shots` and `seed`.
    """

    method: str
    kind: str
    shots: int = 4
    choose: str = "fixed"
    seed: int = 0
    writing: ReasoningConfig = field(default_factory=ReasoningConfig)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    auto_cot: AutoCoTConfig = field(default_factory=AutoCoTConfig)

    @property
    def embeds(self) -> bool:
        """Whether its demonstrations depend on an encoder."""
        return self.method == "auto-cot" or self.choose in EMBEDDING_WAYS


@dataclass(frozen=True)
class Built:
    """A reasoner and what went before.

    Attributes:
        reasoner: Answers.
        auto_cot: The demonstrations that were written for it; None for other methods.
    """

    reasoner: Reasoner
    auto_cot: AutoCoT | None = None


def check_method(name: str) -> None:
    """Makes sure that a reasoning method exists.

    Args:
        name: Its name.

    Raises:
        UnknownNameError: When it is none of `METHODS`.
    """
    if name not in METHODS:
        raise UnknownNameError("reasoning method", name, known=METHODS)


def build_reasoner(
    plan: ReasoningPlan,
    lm: LanguageModel,
    demonstrations: Sequence[Problem],
    *,
    encoder: Callable[[], TextEncoder],
    rationales: TraceFile | None = None,
    progress: Progress = SILENT,
) -> Built:
    """Builds a reasoner.

    Args:
        plan: Which, and how.
        lm: The language model.
        demonstrations: Solved problems; of Auto-CoT only the questions are read.
        encoder: Gives the encoder where one is needed.
        rationales: Takes those that Auto-CoT writes; what it holds is not written again.
        progress: Shows how far the writing of Auto-CoT's demonstrations is.

    Returns:
        The reasoner.

    Raises:
        UnknownNameError: When the method, the kind or the choice is not known.
        TooFewExamplesError: When there are too few demonstrations, or Auto-CoT kept none.
        UsageError: When rationales are needed and there are none.
    """
    check_method(plan.method)
    kind, writing = plan.kind, plan.writing
    if plan.method == "zero-shot-cot":
        return Built(ZeroShotChainOfThought(lm, kind=kind, config=writing))
    if plan.method in ("self-ask", "least-to-most"):
        method = SelfAsk if plan.method == "self-ask" else LeastToMost
        return Built(method(lm, worked_demonstrations(demonstrations, kind, plan.shots), kind=kind, config=writing))
    if plan.method == "auto-cot":
        return _auto_cot(plan, lm, demonstrations, encoder=encoder, rationales=rationales, progress=progress)
    direct = plan.method == "direct"
    solved = [problem for problem in demonstrations if problem.answer is not None]
    shown = choose_demonstrations(
        plan.choose,
        solved if direct else with_rationale(solved),
        plan.shots,
        encoder=encoder,
        seed=plan.seed,
    )
    if direct:
        return Built(DirectAnswer(lm, shown, kind=kind, config=writing))
    chain = ChainOfThought(lm, shown, kind=kind, config=writing)
    return Built(chain if plan.method == "cot" else SelfConsistency(chain, config=plan.sampling))


def answer_all(
    reasoner: Reasoner, problems: Sequence[Problem], *, kept: TraceFile | None = None, progress: Progress = SILENT
) -> list[Trace]:
    """Answers problems.

    Args:
        reasoner: Answers.
        problems: N problems.
        kept: Takes every trace as soon as it is made; what it holds is not answered again.
        progress: Shows problems.

    Returns:
        N traces; a question that does not fit into the window stays unanswered, and its trace says so.
    """
    traces = []
    with progress.track("reasoning", len(problems)) as advance:
        for problem in problems:
            trace = kept.find(problem) if kept else None
            if trace is None:
                trace = _answered(reasoner, problem)
                if kept:
                    kept.append(trace, problem)
            traces.append(trace)
            advance(1)
    return traces


def _answered(reasoner: Reasoner, problem: Problem) -> Trace:
    try:
        return reasoner.answer(problem)
    except PromptTooLongError as error:
        stage = Stage("question", "", "", None, f"the question does not fit ({error})")
        right = None if problem.answer is None else False
        return Trace(problem.uid, reasoner.name, problem.question, (stage,), None, problem.answer, right)


def _auto_cot(
    plan: ReasoningPlan,
    lm: LanguageModel,
    demonstrations: Sequence[Problem],
    *,
    encoder: Callable[[], TextEncoder],
    rationales: TraceFile | None,
    progress: Progress,
) -> Built:
    config = replace(plan.auto_cot, demonstrations=max(1, plan.shots), seed=plan.seed)
    made = build_auto_cot(
        lm,
        demonstrations,
        encoder(),
        kind=plan.kind,
        config=config,
        writing=plan.writing,
        kept=rationales,
        progress=progress,
    )
    if not made.demonstrations:
        why = Counter(attempt.refused for cluster in made.clusters for attempt in cluster.attempts)
        reasons = "; ".join(f"{count} times {reason}" for reason, count in why.most_common())
        raise TooFewExamplesError(available=0, wanted=1, what=f"rationales that pass Auto-CoT's filters ({reasons})")
    shown = fixed_demonstrations(made.demonstrations)
    chain = ChainOfThought(lm, shown, kind=plan.kind, opening=STEP_BY_STEP, config=plan.writing, name=plan.method)
    return Built(chain, made)
