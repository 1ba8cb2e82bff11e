"""A planted decision problem with a known optimum: learning can be tested without any language model.

The worth of an ordered set is hidden in random embeddings: relevance of its members to the query, counted more the
closer a member stands to the query, less what two members have in common. The optimum is found by trying everything.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

import numpy as np
import numpy.typing as npt

from envs.dynamics import DecisionConfig, DecisionProblem
from selector.learned.shortlist import Shortlist
from selector.types import Selection

NEAR, FAR = 1.0, 0.4  # what relevance counts for the demonstration next to the query, and for one before it
REDUNDANCY = 0.5


class PlantedScorer:
    """Knows what every ordered set is worth.

    Args:
        relevance: (N, P) hidden relevance of each pool member to each query.
        similarity: (P, P) similarity of pool members.
    """

    def __init__(self, relevance: npt.NDArray[np.float64], similarity: npt.NDArray[np.float64]) -> None:
        self._relevance = relevance
        self._similarity = similarity
        self.calls = 0

    def potentials(self, queries: Sequence[int], selections: Sequence[Selection]) -> npt.NDArray[np.float64]:
        """Values each selection for its query; see `envs.rewards.PotentialScorer.potentials`."""
        self.calls += 1
        return np.array([self._worth(query, chosen.indices) for query, chosen in zip(queries, selections, strict=True)])

    def _worth(self, query: int, indices: tuple[int, ...]) -> float:
        weights = [FAR] * (len(indices) - 1) + [NEAR] * bool(indices)
        worth = sum(weight * self._relevance[query, index] for weight, index in zip(weights, indices, strict=True))
        shared = sum(self._similarity[a, b] for at, a in enumerate(indices) for b in indices[:at])
        return float(worth - REDUNDANCY * max(shared, 0.0))


def planted_problem(
    *,
    queries: int = 24,
    size: int = 6,
    shots: int = 2,
    width: int = 8,
    seed: int = 0,
    relation_seed: int | None = None,
) -> tuple[DecisionProblem, PlantedScorer]:
    """Makes a planted problem.

    Args:
        queries: N.
        size: K candidates for each query, which are the whole pool.
        shots: H.
        width: D.
        seed: Seeds embeddings and the hidden relation.
        relation_seed: Seeds the hidden relation by itself, so that several problems can share it.

    Returns:
        The problem and its scorer, which counts its calls.
    """
    rng = np.random.default_rng(seed)

    def unit(rows: int) -> npt.NDArray[np.float32]:
        drawn = rng.standard_normal((rows, width))
        normalised: npt.NDArray[np.float64] = drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
        return normalised.astype(np.float32)

    members, asked = unit(size), unit(queries)
    relation = rng if relation_seed is None else np.random.default_rng(relation_seed)
    hidden = np.linalg.qr(relation.standard_normal((width, width)))[0]  # relevance is not the visible similarity
    relevance = (asked @ hidden @ members.T).astype(np.float64)
    scorer = PlantedScorer(relevance, (members @ members.T).astype(np.float64))
    shortlists = []
    for query in asked:
        similarities = members @ query
        order = np.argsort(-similarities, kind="stable")
        shortlists.append(
            Shortlist(tuple(map(int, order)), query, members[order], similarities[order], order.astype(np.int64) % 2)
        )
    return DecisionProblem(shortlists, scorer, DecisionConfig(shots=shots, size=size)), scorer


def optimal_returns(problem: DecisionProblem) -> npt.NDArray[np.float64]:
    """Finds the best return of every query by trying every ordered set.

    Args:
        problem: A problem small enough for it, without STOP.

    Returns:
        (N,) returns.
    """
    best = []
    for query, shortlist in enumerate(problem.shortlists):
        sets = [Selection.of(*indices) for indices in permutations(shortlist.indices, problem.config.shots)]
        values = problem.scorer.potentials([query] * len(sets), sets)
        best.append(values.max() - problem.scorer.potentials([query], [Selection.of()])[0])
    return np.array(best)


def random_returns(problem: DecisionProblem, *, episodes: int, seed: int) -> npt.NDArray[np.float64]:
    """Measures uniformly random choices.

    Args:
        problem: The problem.
        episodes: Random episodes for each query.
        seed: Seeds the choices.

    Returns:
        (N,) mean return of each query.
    """
    rng = np.random.default_rng(seed)
    means = []
    for query, shortlist in enumerate(problem.shortlists):
        drawn = [
            Selection.of(*map(int, rng.choice(shortlist.indices, problem.config.shots, replace=False)))
            for _ in range(episodes)
        ]
        values = problem.scorer.potentials([query] * episodes, drawn)
        means.append(values.mean() - problem.scorer.potentials([query], [Selection.of()])[0])
    return np.array(means)
