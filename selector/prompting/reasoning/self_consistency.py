"""Self-consistency: rationales are sampled, and the answer that most of them reach is taken (Wang et al., 2023).

Samples without an answer do not vote. Equal votes go to the answer that was sampled first, and the trace says so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from selector.errors import UsageError
from selector.inference.free_text import folded_text
from selector.prompting.reasoning.chain import ChainOfThought, forced_answer
from selector.prompting.reasoning.problems import Problem
from selector.prompting.reasoning.trace import Trace, make_trace
from selector.prompting.reasoning.wording import FEW_SHOT_ENDS


@dataclass(frozen=True)
class SamplingConfig:
    """How rationales are sampled.

    Attributes:
        samples: How many; 40 in the paper.
        temperature: Above 0; 0.7 and top_k 40 as published for most models.
        top_k: Sample among the k most probable tokens; 0 is all.
        seed: Of the first sample; the next ones have the next seeds, for every problem alike.
    """

    samples: int = 5
    temperature: float = 0.7
    top_k: int = 40
    seed: int = 0

    def __post_init__(self) -> None:
        if self.samples < 1 or self.temperature <= 0:
            raise UsageError(
                f"{self.samples} samples at temperature {self.temperature} were asked for",
                expected="at least 1 sample, at a temperature above 0: greedy samples are all the same",
                remedy="Raise both, or choose the method cot.",
            )


@dataclass(frozen=True, slots=True)
class Vote:
    """The outcome of a vote.

    Attributes:
        answer: The answer with the most votes; None where nobody voted.
        counts: Answer to votes, in the order of the first vote for each; of several spellings, up to case and white
            space, the most frequent one.
        tied: Whether another answer has as many votes.
    """

    answer: str | None
    counts: Mapping[str, int]
    tied: bool


def majority_vote(answers: Sequence[str | None]) -> Vote:
    """Counts votes.

    Args:
        answers: In the order of sampling; None does not vote.

    Returns:
        The outcome; among equals the answer that came first wins.
    """
    spellings: dict[str, Counter[str]] = {}
    for answer in answers:
        if answer is not None:
            spellings.setdefault(folded_text(answer), Counter())[answer] += 1
    if not spellings:
        return Vote(None, {}, tied=False)
    # A Counter keeps the order of arrival.
    counts = {own.most_common(1)[0][0]: own.total() for own in spellings.values()}
    most = max(counts.values())
    leading = [answer for answer, votes in counts.items() if votes == most]
    return Vote(leading[0], counts, tied=len(leading) > 1)


class SelfConsistency:
    """Samples chains of thought and lets them vote.

    Args:
        chain: Renders prompts and reads answers.
        config: How rationales are sampled.
    """

    name = "self-consistency"

    def __init__(self, chain: ChainOfThought, *, config: SamplingConfig = SamplingConfig()) -> None:
        self._chain, self._config = chain, config

    def answer(self, problem: Problem) -> Trace:
        """Answers a problem; see `Reasoner.answer`."""
        chain, config = self._chain, self._config
        prompt = chain.prompt(problem)
        texts = chain.lm.generate(
            [prompt] * config.samples,
            max_new_tokens=chain.config.rationale_tokens,
            stop=FEW_SHOT_ENDS,
            temperature=config.temperature,
            top_k=config.top_k,
            seed=config.seed,
        )
        stages = [
            replace(chain.read(problem, prompt, text), name=f"rationale {number}")
            for number, text in enumerate(texts, start=1)
        ]
        vote = majority_vote([stage.extracted for stage in stages])
        if vote.answer is None:
            stages.append(forced_answer(chain.lm, prompt + texts[0], problem, kind=chain.kind, config=chain.config))
            remark = "no sample voted; the answer was asked for behind the first"
            return make_trace(problem, self.name, stages, stages[-1].extracted, kind=chain.kind, remark=remark)
        counted = ", ".join(f"{answer}: {votes}" for answer, votes in vote.counts.items())
        remark = f"votes {counted}" + ("; a tie, the first of them is taken" if vote.tied else "")
        return make_trace(problem, self.name, stages, vote.answer, kind=chain.kind, remark=remark)
