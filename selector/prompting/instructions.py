"""Instructions: induced from demonstrations by the language model, and ranked on dev queries with those given by hand.

Induction as in Honovich et al. (2023, "Instruction Induction"); proposing several and keeping the one that scores best
as in Zhou et al. (2023, "APE"), whose resampling of variants is not done. This module scores through the inference
engine only, and never looks at test queries.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from selector.data.words import IDEOGRAPHIC_ENDS, words_of
from selector.errors import TooFewExamplesError, UnknownLabelError, UnknownNameError
from selector.inference.calibration import log_softmax
from selector.inference.changed import changed_engine
from selector.inference.engine import InferenceEngine
from selector.lm.base import Usage
from selector.progress import SILENT, Progress
from selector.prompting.embedding_text import input_text
from selector.prompting.template import PromptTemplate
from selector.prompting.window import fitted_prompt
from selector.types import Example, Selection

JUDGES: Final = ("accuracy", "gold")
NONE, BY_HAND, INDUCED = "none", "by hand", "induced"
OPENING: Final = "Someone was told what to do with a text, in one sentence. Here is what that person answered."
CLOSING: Final = "In one sentence, the person was told to"
FEWEST_WORDS: Final = 3
MOST_WORDS: Final = 60
_SENTENCE_END = re.compile(rf"(?<=[.!?])\s|(?<=[{IDEOGRAPHIC_ENDS}])")
_NOT_WORDS = re.compile(r"[\W_]+")


@dataclass(frozen=True)
class InductionConfig:
    """How instructions are proposed.

    Attributes:
        sets: How many sets of demonstrations are drawn.
        shots: Demonstrations in a set; 5 in the paper.
        per_set: Proposals for each set.
        temperature: Of their sampling; 0 is greedy, and then one for each set is enough.
        top_k: Sample among the k most probable tokens; 0 is all.
        max_new_tokens: The longest instruction, tokens.
        seed: Seeds the sets and the sampling.
    """

    sets: int = 4
    shots: int = 5
    per_set: int = 2
    temperature: float = 0.7
    top_k: int = 0
    max_new_tokens: int = 48
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Proposal:
    """One proposal.

    Attributes:
        prompt: What the language model was given.
        generation: What it wrote.
        instruction: The instruction in it; empty where there is none.
        refused: Why it is no candidate; empty where it is one.
    """

    prompt: str
    generation: str
    instruction: str
    refused: str


@dataclass(frozen=True, slots=True)
class Induction:
    """What was proposed.

    Attributes:
        proposals: All of it, in order.
        usage: What it cost.
    """

    proposals: tuple[Proposal, ...]
    usage: Usage

    @property
    def instructions(self) -> tuple[str, ...]:
        """The distinct candidates, in order."""
        return tuple(proposal.instruction for proposal in self.proposals if not proposal.refused)


@dataclass(frozen=True, slots=True)
class RankedInstruction:
    """An instruction and its scores on dev queries.

    Attributes:
        instruction: The text; empty is no instruction.
        origin: "none", "by hand" or "induced".
        accuracy: The share of dev queries answered rightly.
        gold_logprob: The mean log-probability of the gold label, nats.
        usage: What scoring cost.
    """

    instruction: str
    origin: str
    accuracy: float
    gold_logprob: float
    usage: Usage


def induction_blocks(template: PromptTemplate, examples: Sequence[Example]) -> list[str]:
    """Renders demonstrations as an induction prompt shows them: without the template, which might give it away.

    Args:
        template: Whose verbalizers name the labels.
        examples: Labelled examples.

    Returns:
        One text for each.
    """
    return [
        f"Text: {input_text(example)}\nAnswer: {template.completion(str(example.label)).strip()}"
        for example in examples
    ]


def cleaned_instruction(text: str) -> str:
    """Reads the instruction in what was written behind "was told to".

    Args:
        text: The generation.

    Returns:
        Its first sentence that is not broken off where one ends, as a sentence; empty where there is none.
    """
    lines = [line.strip().strip("\"'“”:*- ") for line in text.strip().splitlines()]
    line = next((line for line in lines if line), "")
    sentence = _SENTENCE_END.split(line)[0].strip().strip("\"'“”")
    sentence = re.sub(r"^(?:to|that|please)\s+", "", sentence, flags=re.IGNORECASE)
    if not sentence:
        return ""
    return sentence[0].upper() + sentence[1:] + ("" if sentence[-1] in f".!?{IDEOGRAPHIC_ENDS}" else ".")


def induce_instructions(
    engine: InferenceEngine, *, config: InductionConfig = InductionConfig(), progress: Progress = SILENT
) -> Induction:
    """Lets the language model say which instruction demonstrations follow.

    Args:
        engine: Its model writes; demonstrations are drawn from its pool, with their gold labels.
        config: How much is proposed.
        progress: Shows sets.

    Returns:
        The proposals; exact and normalised duplicates are refused.

    Raises:
        TooFewExamplesError: When the pool has fewer examples than a set.
        PromptTooLongError: When the request does not fit even without demonstrations.
    """
    pool, lm = engine.pool, engine.lm
    if config.sets and len(pool) < config.shots:
        raise TooFewExamplesError(available=len(pool), wanted=config.shots)
    before, known = lm.usage, set[str]()
    proposals: list[Proposal] = []
    with progress.track("proposing instructions", config.sets) as advance:
        for number in range(config.sets):
            drawn = np.random.default_rng([config.seed, number]).choice(len(pool), config.shots, replace=False)
            blocks = induction_blocks(engine.template, [pool[int(place)] for place in drawn])
            reserve, uid = config.max_new_tokens, f"induction-{number}"
            prompt = fitted_prompt(lm, blocks, CLOSING, reserve=reserve, uid=uid, opening=OPENING)
            texts = lm.generate(
                [prompt] * config.per_set,
                max_new_tokens=config.max_new_tokens,
                stop=("\n\n",),
                temperature=config.temperature,
                top_k=config.top_k,
                seed=config.seed + number * config.per_set,
            )
            proposals += [_judged(prompt, text, known) for text in texts]
            advance(1)
    return Induction(tuple(proposals), lm.usage - before)


def check_judge(by: str) -> None:
    """Makes sure that a way to rank instructions exists.

    Args:
        by: Its name.

    Raises:
        UnknownNameError: When it is none of `JUDGES`.
    """
    if by not in JUDGES:
        raise UnknownNameError("score of instructions", by, known=JUDGES)


def rank_instructions(
    engine: InferenceEngine,
    candidates: Mapping[str, str],
    dev: Sequence[Example],
    *,
    by: str = "accuracy",
    selections: Sequence[Selection] | None = None,
    progress: Progress = SILENT,
) -> list[RankedInstruction]:
    """Scores instructions on dev queries.

    Args:
        engine: Scores; its template's own instruction is replaced.
        candidates: Instruction to origin; no instruction is always scored too.
        dev: N labelled queries.
        by: "accuracy", where equal ones are ranked by the gold log-probability, or "gold", the other way round.
        selections: Demonstrations for each query; None is zero-shot.
        progress: Shows instructions.

    Returns:
        The candidates, best first; equal ones in the order given.

    Raises:
        UnknownNameError: When `by` is neither.
        TooFewExamplesError: When there are no dev queries.
        UnknownLabelError: When a dev query has no label.
    """
    check_judge(by)
    if not dev:
        raise TooFewExamplesError(available=0, wanted=1, what="dev queries")
    shown = selections if selections is not None else [Selection.of()] * len(dev)
    ranked = []
    everything = {"": NONE, **candidates}
    with progress.track("ranking instructions", len(everything)) as advance:
        for instruction, origin in everything.items():
            ranked.append(_scored(engine, instruction, origin, dev, shown))
            advance(1)
    first, second = ("accuracy", "gold_logprob") if by == "accuracy" else ("gold_logprob", "accuracy")
    return sorted(ranked, key=lambda one: (getattr(one, first), getattr(one, second)), reverse=True)


def _judged(prompt: str, text: str, known: set[str]) -> Proposal:
    instruction = cleaned_instruction(text)
    words = len(words_of(instruction))
    key = _NOT_WORDS.sub(" ", instruction.casefold()).strip()
    refused = ""
    if not FEWEST_WORDS <= words <= MOST_WORDS:
        refused = f"it has {words} words, not {FEWEST_WORDS} to {MOST_WORDS}"
    elif key in known:
        refused = "it was proposed before"
    known.add(key)
    return Proposal(prompt, text, instruction, refused)


def _scored(
    engine: InferenceEngine, instruction: str, origin: str, dev: Sequence[Example], shown: Sequence[Selection]
) -> RankedInstruction:
    changed = changed_engine(engine, template=replace(engine.template, instruction=instruction))
    before = engine.lm.usage
    for query in dev:
        if query.label is None:
            raise UnknownLabelError(str(query.label), known=changed.labels, where="a labelled query")
    predictions = changed.predict(dev, shown)
    right = changed.right(dev, predictions)
    if not changed.labels:  # written answers, or choices of each query's own
        gold = changed.gold_logprobs(dev, shown)
    else:
        scores = np.array([[one.scores[label] for label in changed.labels] for one in predictions])  # (N, L)
        gold = log_softmax(scores)[np.arange(len(dev)), changed.gold_columns(dev)]
    return RankedInstruction(instruction, origin, float(np.mean(right)), float(gold.mean()), engine.lm.usage - before)
