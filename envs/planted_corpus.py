"""A planted per-corpus problem with a known optimum: learning can be tested without any language model.

The worth of an ordered set is hidden in what a policy sees of its members: how typical and long they are, the last one
counting more, how many labels they cover and how little they repeat each other. The same relation holds in every pool,
so that what is learned on one can be tested on another.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

import numpy as np
import numpy.typing as npt

from envs.corpus import CorpusProblem
from envs.dynamics import DecisionConfig
from selector.data.pool import Pool
from selector.learned.candidate_set import TRAITS, CandidateSet, build_candidate_set
from selector.types import Example, Selection

LABELS = ("red", "green", "blue")
NEXT_TO_QUERY, COVERAGE, REDUNDANCY = 0.2, 0.3, 0.3


class PlantedCorpusScorer:
    """Knows what every ordered set is worth.

    Args:
        members: All of the pool, as a candidate set.
        shots: H, the size of a full prompt.
    """

    def __init__(self, members: CandidateSet, shots: int) -> None:
        columns = members.traits[:, [TRAITS.index("typicality"), TRAITS.index("length")]].astype(np.float64)
        self._quality = dict(zip(members.shortlist.indices, columns.mean(axis=1), strict=True))
        self._label = dict(zip(members.shortlist.indices, members.shortlist.labels, strict=True))
        self._row = dict(zip(members.shortlist.indices, members.shortlist.candidates, strict=True))
        self._shots = shots
        self.calls = 0

    def potentials(self, queries: Sequence[int], selections: Sequence[Selection]) -> npt.NDArray[np.float64]:
        """Values each selection; see `envs.rewards.PotentialScorer.potentials`."""
        del queries
        self.calls += 1
        return np.array([self._worth(selection.indices) for selection in selections])

    def _worth(self, indices: tuple[int, ...]) -> float:
        if not indices:
            return 0.0
        quality = sum(self._quality[index] for index in indices) + NEXT_TO_QUERY * self._quality[indices[-1]]
        labels = len({self._label[index] for index in indices})
        shared = sum(float(self._row[a] @ self._row[b]) for at, a in enumerate(indices) for b in indices[:at])
        return float(quality + COVERAGE * labels - REDUNDANCY * max(shared, 0.0)) / self._shots


def planted_corpus_problem(
    *, members: int = 40, candidates: int = 10, shots: int = 3, may_stop: bool = False, seed: int = 0
) -> tuple[CorpusProblem, Pool, npt.NDArray[np.float32]]:
    """Makes a planted problem; every seed is another pool under the same hidden relation.

    Args:
        members: P, the size of the pool.
        candidates: K.
        shots: H.
        may_stop: Whether STOP is a choice.
        seed: Seeds pool, embeddings and candidates.

    Returns:
        The problem, its pool, and the (P, D) embeddings of the pool.
    """
    rng = np.random.default_rng(seed)
    labels = rng.integers(len(LABELS), size=members)
    pool = Pool(
        Example(f"planted-{at}", {"text": " ".join(["word"] * int(rng.integers(1, 60)) + [str(at)])}, LABELS[label])
        for at, label in enumerate(labels)
    )
    rows = np.eye(len(LABELS), 8)[labels] + 0.6 * rng.standard_normal((members, 8))
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    mean = rows.mean(axis=0)
    task = (mean / np.linalg.norm(mean)).astype(np.float32)
    everyone = build_candidate_set(pool, rows, task, range(members))
    drawn = [int(position) for position in rng.choice(members, candidates, replace=False)]
    problem = CorpusProblem(
        build_candidate_set(pool, rows, task, drawn),
        PlantedCorpusScorer(everyone, shots),
        DecisionConfig(shots=shots, may_stop=may_stop),
    )
    return problem, pool, rows


def optimal_value(problem: CorpusProblem) -> float:
    """Finds the best return by trying every ordered set.

    Args:
        problem: A problem small enough for it, without STOP.

    Returns:
        The return.
    """
    sets = [
        Selection.of(*indices) for indices in permutations(problem.candidates.shortlist.indices, problem.config.shots)
    ]
    return float(_gain(problem, sets).max())


def random_values(problem: CorpusProblem, *, episodes: int, seed: int) -> npt.NDArray[np.float64]:
    """Measures uniformly random full prompts.

    Args:
        problem: The problem.
        episodes: How many.
        seed: Seeds the choices.

    Returns:
        (episodes,) returns.
    """
    rng, indices = np.random.default_rng(seed), problem.candidates.shortlist.indices
    drawn = [rng.choice(indices, problem.config.shots, replace=False) for _ in range(episodes)]
    return _gain(problem, [Selection.of(*map(int, one)) for one in drawn])


def _gain(problem: CorpusProblem, sets: Sequence[Selection]) -> npt.NDArray[np.float64]:
    values = problem.scorer.potentials([0] * (len(sets) + 1), [*sets, Selection.of()])
    gain: npt.NDArray[np.float64] = values[:-1] - values[-1]
    return gain
