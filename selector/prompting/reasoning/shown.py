"""Which solved problems are shown with a question: the same ones for all, or those that a selector chooses.

A problem is never shown with itself or a duplicate of its question. This module knows nothing of prompts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

import numpy as np

from selector.errors import TooFewExamplesError, UnknownNameError, UsageError
from selector.prompting.reasoning.problems import Problem, problem_pool, same_question
from selector.retrieval.encoder import TextEncoder
from selector.strategies.base import Selector

Shown: TypeAlias = Callable[[Problem], Sequence[Problem]]
"""From a problem to the solved problems that are shown with it, in prompt order."""

EMBEDDING_WAYS: Final = ("nearest", "kmeans")
WAYS: Final = ("fixed", "random", "bm25", *EMBEDDING_WAYS)


def fixed_demonstrations(problems: Sequence[Problem]) -> Shown:
    """Shows the same problems with every question.

    Args:
        problems: Solved problems in prompt order.

    Returns:
        A function that leaves a duplicate of the question out.
    """
    return lambda asked: [problem for problem in problems if not same_question(problem, asked)]


def selected_demonstrations(selector: Selector, problems: Sequence[Problem], shots: int) -> Shown:
    """Shows what a selector chooses for each question.

    Args:
        selector: Over `problem_pool(problems)`.
        problems: The solved problems.
        shots: How many are shown.

    Returns:
        A function; selectors leave duplicates of the question out.
    """

    def chosen(asked: Problem) -> Sequence[Problem]:
        (selection,) = selector.select([asked.example()], shots)
        return [problems[index] for index in selection.indices]

    return chosen


def choose_demonstrations(
    way: str,
    problems: Sequence[Problem],
    shots: int,
    *,
    encoder: Callable[[], TextEncoder],
    seed: int = 0,
) -> Shown:
    """Builds a way to choose solved problems.

    Args:
        way: "fixed" draws once for all questions; "random", "bm25", "nearest" and "kmeans" are the selectors.
        problems: Solved problems.
        shots: How many are shown; 0 shows none.
        encoder: Gives the encoder where one is needed.
        seed: Seeds the random choices.

    Returns:
        The choice.

    Raises:
        UnknownNameError: When the way is not known.
        TooFewExamplesError: When there are fewer problems than are to be shown.
    """
    if way not in WAYS:
        raise UnknownNameError("choice of demonstrations", way, known=WAYS)
    if shots > len(problems):
        raise TooFewExamplesError(available=len(problems), wanted=shots)
    if shots == 0:
        return fixed_demonstrations(())
    if way == "fixed":
        drawn = np.random.default_rng(seed).choice(len(problems), shots, replace=False)
        return fixed_demonstrations([problems[int(place)] for place in drawn])
    pool = problem_pool(problems)
    selector: Selector
    if way == "random":
        from selector.strategies.random import RandomSelector

        selector = RandomSelector(pool, seed=seed)
    elif way == "bm25":
        from selector.strategies.lexical import BM25Selector

        selector = BM25Selector(pool)
    elif way == "nearest":
        from selector.strategies.dense import NearestSelector

        selector = NearestSelector(pool, encoder())
    else:
        from selector.strategies.clustered import KMeansSelector

        selector = KMeansSelector(pool, encoder(), seed=seed)
    return selected_demonstrations(selector, problems, shots)


def with_rationale(problems: Sequence[Problem]) -> list[Problem]:
    """Keeps the answered problems whose reasoning is known.

    Args:
        problems: Problems.

    Returns:
        Those that can be shown as chains of thought.

    Raises:
        UsageError: When there are problems but none of them can.
    """
    kept = [problem for problem in problems if problem.rationale.strip() and problem.answer is not None]
    if problems and not kept:
        raise UsageError(
            f"none of {len(problems)} demonstrations has a rationale and an answer",
            expected="rationales written by hand",
            remedy="Add the column 'rationale', or choose the method auto-cot or zero-shot-cot.",
        )
    return kept
