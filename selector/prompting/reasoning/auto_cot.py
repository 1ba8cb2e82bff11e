"""Auto-CoT: demonstrations with rationales that the language model writes itself (Zhang et al., 2023).

Questions are clustered by k-means over their embeddings; in each cluster the question nearest to the centre whose
zero-shot rationale passes the published filters becomes a demonstration, with the model's own answer. Gold answers and
gold rationales are not looked at. A cluster without such a question gives no demonstration, and the report says why.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from selector.errors import PromptTooLongError, TooFewExamplesError
from selector.lm.base import LanguageModel
from selector.progress import SILENT, Progress
from selector.prompting.reasoning.answers import NUMBER, extract_answer
from selector.prompting.reasoning.chain import DEFAULT_WRITING, ReasoningConfig, ZeroShotChainOfThought
from selector.prompting.reasoning.problems import Problem
from selector.prompting.reasoning.trace import Trace
from selector.prompting.reasoning.trace_file import TraceFile
from selector.retrieval.encoder import TextEncoder

STARTS: Final = 10  # k-means keeps the best of as many starts
_BLANK_LINES = re.compile(r"\n\s*\n+")
_SENTENCES = re.compile(r"(?<=[.!?])\s+|\n+")


@dataclass(frozen=True)
class AutoCoTConfig:
    """How demonstrations are made; the filters as in the authors' code.

    Attributes:
        demonstrations: How many clusters; 8 in the paper, 4 for AQuA and 6 for StrategyQA.
        question_words: The longest question, words.
        steps: The most steps of a rationale; a step is a line.
        tries: The most questions tried in a cluster, nearest to the centre first; each costs a rationale.
        seed: Seeds the clustering.
    """

    demonstrations: int = 8
    question_words: int = 60
    steps: int = 5
    tries: int = 8
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Attempt:
    """One question that was tried.

    Attributes:
        uid: Of the question.
        refused: Why it became no demonstration; empty where it did.
        trace: How its rationale was written; None where it was refused before.
    """

    uid: str
    refused: str
    trace: Trace | None = None


@dataclass(frozen=True, slots=True)
class Cluster:
    """One cluster of questions.

    Attributes:
        size: How many questions are in it.
        attempts: What was tried, in order; the last one is the demonstration where it was not refused.
    """

    size: int
    attempts: tuple[Attempt, ...]


@dataclass(frozen=True, slots=True)
class AutoCoT:
    """What was made.

    Attributes:
        demonstrations: Problems with the model's rationale and answer, that of the largest cluster last.
        clusters: How it came to them, one for each cluster, smallest first.
    """

    demonstrations: tuple[Problem, ...]
    clusters: tuple[Cluster, ...]

    @property
    def written(self) -> int:
        """How many rationales were written for demonstrations."""
        return sum(attempt.trace is not None for cluster in self.clusters for attempt in cluster.attempts)

    @property
    def refused(self) -> int:
        """How many of those did not become one."""
        return self.written - len(self.demonstrations)


def refusal(rationale: str, answer: str | None, *, kind: str, config: AutoCoTConfig) -> str:
    """Judges a rationale by the published filters.

    Args:
        rationale: The text.
        answer: What the model answered behind it.
        kind: The kind of answer.
        config: The limits.

    Returns:
        Why it is refused; empty where it is kept.
    """
    steps = [line for line in rationale.splitlines() if line.strip()]
    if answer is None:
        return "no answer was read behind it"
    if not steps or not rationale.endswith("."):
        return "the rationale does not end with a full stop"
    if len(steps) > config.steps:
        return f"the rationale has {len(steps)} steps, more than {config.steps}"
    if kind == NUMBER:
        last = [sentence for sentence in _SENTENCES.split(rationale) if sentence.strip()][-1]
        words = [extract_answer(word.strip("()"), NUMBER, cued=True).value for word in re.split(r"[\s=]+", last)]
        if answer not in words:
            return f"its last sentence does not hold the answer {answer}"
    return ""


def build_auto_cot(
    lm: LanguageModel,
    problems: Sequence[Problem],
    encoder: TextEncoder,
    *,
    kind: str,
    config: AutoCoTConfig = AutoCoTConfig(),
    writing: ReasoningConfig = DEFAULT_WRITING,
    kept: TraceFile | None = None,
    progress: Progress = SILENT,
) -> AutoCoT:
    """Makes demonstrations of unlabelled questions.

    Args:
        lm: Writes rationales and answers, greedily.
        problems: The questions; their answers and rationales are not looked at.
        encoder: Embeds them.
        kind: The kind of answer.
        config: How demonstrations are made.
        writing: How much is written.
        kept: Takes every rationale as soon as it is written; what it holds is not written again.
        progress: Shows clusters.

    Returns:
        The demonstrations and how it came to them.

    Raises:
        TooFewExamplesError: When there are fewer distinct questions than clusters.
    """
    from sklearn.cluster import KMeans

    rows = encoder.encode([problem.question for problem in problems])
    distinct = len(np.unique(rows, axis=0)) if len(problems) else 0
    if distinct < config.demonstrations:
        raise TooFewExamplesError(available=distinct, wanted=config.demonstrations, what="distinct questions")
    fitted = KMeans(config.demonstrations, n_init=STARTS, random_state=config.seed).fit(rows)
    distances = fitted.transform(rows)  # (P, clusters)
    reasoner = ZeroShotChainOfThought(lm, kind=kind, config=writing)

    def reasoned(problem: Problem) -> Trace:
        trace = kept.find(problem) if kept else None
        if trace is None:
            trace = reasoner.answer(problem)
            if kept:
                kept.append(trace, problem)
        return trace

    made: list[tuple[Cluster, Problem | None]] = []
    with progress.track("writing rationales", config.demonstrations) as advance:
        for cluster in range(config.demonstrations):
            members = np.flatnonzero(fitted.labels_ == cluster)
            ranked = members[np.argsort(distances[members, cluster], kind="stable")]
            made.append(_demonstration([problems[int(at)] for at in ranked], reasoned, kind=kind, config=config))
            advance(1)
    made.sort(key=lambda entry: entry[0].size)
    return AutoCoT(tuple(problem for _, problem in made if problem is not None), tuple(cluster for cluster, _ in made))


def _demonstration(
    ranked: Sequence[Problem], reasoned: Callable[[Problem], Trace], *, kind: str, config: AutoCoTConfig
) -> tuple[Cluster, Problem | None]:
    attempts: list[Attempt] = []
    for problem in ranked:
        if sum(attempt.trace is not None for attempt in attempts) == config.tries:
            break
        words = len(problem.question.split())
        if words > config.question_words:
            attempts.append(Attempt(problem.uid, f"the question has {words} words, more than {config.question_words}"))
            continue
        try:
            trace = reasoned(replace(problem, answer=None))
        except PromptTooLongError as error:
            attempts.append(Attempt(problem.uid, str(error)))
            continue
        rationale = _BLANK_LINES.sub("\n", trace.stages[0].generation.strip())
        attempts.append(Attempt(problem.uid, refusal(rationale, trace.answer, kind=kind, config=config), trace))
        if not attempts[-1].refused:
            kept = replace(problem, answer=trace.answer, rationale=rationale)
            return Cluster(len(ranked), tuple(attempts)), kept
    return Cluster(len(ranked), tuple(attempts)), None
