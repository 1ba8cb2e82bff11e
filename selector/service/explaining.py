"""Why a method chose what it chose for one query: its scores, what it passed over, and what each choice does.

Similarities are cosines of the task's encoder for every method, so that methods can be set side by side. Influence is
leave-one-out: the answer's log-probability among the labels with a demonstration minus without it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from selector.inference.changed import changed_engine
from selector.inference.engine import InferenceEngine
from selector.prompting.embedding_text import input_text
from selector.service.answering import Answerer
from selector.service.choices import Recipe, Shown
from selector.types import Example, Prediction, Query, Selection


@dataclass(frozen=True)
class Passed:
    """The example that is most like a chosen one and was not chosen.

    Attributes:
        example: The example.
        likeness: Cosine similarity to the chosen one.
        similarity: Cosine similarity to the query.
    """

    example: Example
    likeness: float
    similarity: float


@dataclass(frozen=True)
class Reason:
    """Why one demonstration stands where it stands.

    Attributes:
        example: The demonstration.
        score: The method's.
        similarity: Cosine similarity to the query.
        rival: What it was preferred to; None where there is nothing else.
        influence: Nats; None where nobody can tell.
        shown: Whether the window had room for it.
    """

    example: Example
    score: float
    similarity: float
    rival: Passed | None
    influence: float | None
    shown: bool


@dataclass(frozen=True)
class Explained:
    """One method's choice for one query.

    Attributes:
        method: Its name.
        pool_size: Of the pool that it chose from.
        reasons: One for each demonstration, in prompt order.
        prompt: What the language model reads.
        answer: The prediction and what was shown; None without a language model.
    """

    method: str
    pool_size: int
    reasons: tuple[Reason, ...]
    prompt: str
    answer: tuple[Prediction, Shown] | None


def explain_choice(answerer: Answerer, recipe: Recipe, query: Query) -> Explained:
    """Chooses for one query and says why.

    Args:
        answerer: Chooses and, where it has a language model, answers.
        recipe: How to choose.
        query: The query.

    Returns:
        The choice with its reasons.

    Raises:
        UnknownNameError: When method or orderer are not known.
        TooFewExamplesError: When the pool is too small.
        PromptTooLongError: When the query does not fit the window.
        ArtifactMismatchError: When the policy was made for another template or language model.
    """
    pool, template = answerer.pool, answerer.task.template
    engine = answerer.engine_for(recipe) if answerer.with_lm else None
    (chosen,) = answerer.choose(recipe, [query])
    fitted, answer = chosen, None
    influence: dict[int, float] = {}
    if engine is not None:
        (fitted,) = engine.fit([query], [chosen])
        alone = _by_itself(engine)
        (prediction,) = alone.predict([query], [fitted])
        answer = prediction, Shown.of(pool, fitted)
        influence = _influence(alone, query, prediction, fitted)
    similarities, rivals = _compared(answerer, query, chosen)
    reasons = tuple(
        Reason(pool[index], score, similarity, rival, influence.get(index), index in fitted.indices)
        for index, score, similarity, rival in zip(chosen.indices, chosen.scores, similarities, rivals, strict=True)
    )
    prompt = template.prompt([pool[index] for index in fitted.indices], query)
    return Explained(answerer.method(recipe.method or None), len(pool), reasons, prompt, answer)


def _by_itself(engine: InferenceEngine) -> InferenceEngine:
    """One query alone has no batch to calibrate by."""
    return changed_engine(engine, calibration="none") if engine.calibration == "batch" else engine


def _influence(engine: InferenceEngine, query: Query, answer: Prediction, shown: Selection) -> dict[int, float]:
    """Position to what the demonstration does to the answer, nats; nothing for written answers."""
    if engine.template.free_text or not shown.indices:
        return {}
    asked = replace(query, label=answer.label)
    rest = [Selection.of(*(other for other in shown.indices if other != index)) for index in shown.indices]
    whole, *without = engine.gold_logprobs([asked] * (len(rest) + 1), [shown, *rest]).tolist()
    return {index: whole - own for index, own in zip(shown.indices, without, strict=True)}


def _compared(answerer: Answerer, query: Query, chosen: Selection) -> tuple[list[float], list[Passed | None]]:
    """The similarity to the query of each chosen example, and its rival."""
    if not chosen.indices:
        return [], []
    pool, nearest = answerer.pool, answerer.nearest
    asked = nearest.query_encoder.encode([input_text(query)])[0]
    rows = nearest.rows_of(chosen.indices)
    taken = pool.duplicates_of(query).union(chosen.indices)
    wanted = min(len(pool), len(taken) + 1)
    likenesses, positions = nearest.index.search(np.ascontiguousarray(rows), wanted)
    rivals: list[Passed | None] = []
    for own_likenesses, own_positions in zip(likenesses.tolist(), positions.tolist(), strict=True):
        free = [(at, like) for at, like in zip(own_positions, own_likenesses, strict=True) if at not in taken]
        if not free:
            rivals.append(None)
            continue
        at, likeness = free[0]
        rivals.append(Passed(pool[at], likeness, float(nearest.rows_of([at])[0] @ asked)))
    return [float(row @ asked) for row in rows], rivals
