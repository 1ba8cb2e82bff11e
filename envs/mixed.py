"""Several decision problems as one, so that a policy is trained on several tasks and can be tested on another.

The queries of all problems stand in one row; each keeps its own pool, labels and scorer. Observations name neither
labels nor tasks, so one policy fits them all. This module knows nothing of language models.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any

import numpy as np

from envs.dynamics import DecisionProblem
from envs.rewards import JudgingScorer, Values
from selector.errors import EmptyPoolError, UsageError
from selector.learned.lm_features import PromptReader, PromptView
from selector.learned.shortlist import Shortlist
from selector.types import Selection


class _Parts:
    """Which problem each query number belongs to."""

    def __init__(self, problems: Sequence[DecisionProblem]) -> None:
        self.problems = problems
        self._starts = [0, *accumulate(len(problem.shortlists) for problem in problems)]

    def each(
        self, queries: Sequence[int], asked: Callable[[DecisionProblem, list[int], list[int]], Sequence[Any]]
    ) -> list[Any]:
        """One answer for each query; a problem is asked once, with its own numbers and the places they came from."""
        owners = [bisect_right(self._starts, query) - 1 for query in queries]
        answers: list[Any] = [None] * len(queries)
        for owner in sorted(set(owners)):
            places = [place for place, one in enumerate(owners) if one == owner]
            numbers = [queries[place] - self._starts[owner] for place in places]
            for place, answer in zip(places, asked(self.problems[owner], numbers, places), strict=True):
                answers[place] = answer
        return answers


class MixedScorer:
    """Asks each query's own scorer; one call for each problem that occurs.

    Args:
        problems: The problems.
    """

    def __init__(self, problems: Sequence[DecisionProblem]) -> None:
        self._parts = _Parts(problems)

    def potentials(self, queries: Sequence[int], selections: Sequence[Selection]) -> Values:
        """Values each selection for its query; see `envs.rewards.PotentialScorer.potentials`."""
        return self.judge(queries, selections)[0]

    def judge(self, queries: Sequence[int], selections: Sequence[Selection]) -> tuple[Values, Values | None]:
        """Values each selection, and judges it where every problem can; see `envs.rewards.JudgingScorer.judge`."""

        def asked(problem: DecisionProblem, numbers: list[int], places: list[int]) -> list[tuple[float, float | None]]:
            own = [selections[place] for place in places]
            if isinstance(problem.scorer, JudgingScorer):
                worth, right = problem.scorer.judge(numbers, own)
            else:
                worth, right = problem.scorer.potentials(numbers, own), None
            return list(zip(worth, [None] * len(own) if right is None else right, strict=True))

        answers = self._parts.each(queries, asked)
        rights = [right for _, right in answers]
        worth = np.array([value for value, _ in answers], dtype=np.float64)
        return worth, None if None in rights else np.array(rights, dtype=np.float64)


class _MixedReader:
    def __init__(self, problems: Sequence[DecisionProblem]) -> None:
        self._parts = _Parts(problems)

    def read(
        self, queries: Sequence[int], shortlists: Sequence[Shortlist], chosen: Sequence[Sequence[int]]
    ) -> list[PromptView]:
        def asked(problem: DecisionProblem, numbers: list[int], places: list[int]) -> list[PromptView]:
            reader: PromptReader = problem.reader  # type: ignore[assignment]  # its rules ask for it, as all do
            return reader.read(numbers, [shortlists[place] for place in places], [chosen[place] for place in places])

        return self._parts.each(queries, asked)


def mixed_problem(problems: Sequence[DecisionProblem]) -> DecisionProblem:
    """Puts problems together; queries are drawn alike, so a problem counts as much as it has queries.

    Args:
        problems: At least one, all with the same rules and width of embeddings.

    Returns:
        The problem over all their queries, in the order given.

    Raises:
        EmptyPoolError: When there is none.
        UsageError: When their rules or widths differ.
    """
    if not problems:
        raise EmptyPoolError("there is no problem to train on", expected="at least one", remedy="Name a task.")
    for problem in problems[1:]:
        found, wanted = (problem.config, problem.width), (problems[0].config, problems[0].width)
        if found != wanted:
            raise UsageError(
                f"a problem has {found[0]} and embeddings of {found[1]}",
                expected=f"{wanted[0]} and {wanted[1]}, as the first has",
                remedy="Use the same settings and the same encoder for all tasks.",
            )
    shortlists = [shortlist for problem in problems for shortlist in problem.shortlists]
    config = problems[0].config
    reader = _MixedReader(problems) if config.lm_features else None
    return DecisionProblem(shortlists, MixedScorer(problems), config, reader=reader)
