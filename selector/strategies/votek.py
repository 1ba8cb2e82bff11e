"""Which few examples of a pool to annotate, so that the nearest of them serve every query: vote-k (Su et al., 2023).

Fast vote-k picks examples that many others count among their nearest, and that are not yet near to one picked. Vote-k
starts with those, asks the language model how sure it is of the rest, and picks one from each level of confidence.
Labels that were not annotated are never shown; demonstrations are the nearest annotated ones, most similar last.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from selector.data.pool import Pool
from selector.inference.engine import InferenceEngine
from selector.learned.candidate_set import draw_candidates
from selector.progress import SILENT, Progress
from selector.prompting.embedding_text import input_text
from selector.retrieval.encoder import TextEncoder, query_encoder_of
from selector.retrieval.index import Rows
from selector.strategies.base import allowed_positions
from selector.strategies.judging import ask_options
from selector.strategies.ranking import best_candidates_last
from selector.types import Query, Selection

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

MOST_VOTERS: Final = 3000  # this and what follows as published; a larger pool is sampled
NEIGHBOURS: Final = 150
VOTERS_TO_NEIGHBOURS: Final = 20  # a smaller pool keeps the published ratio: with all as neighbours votes say nothing
DISCOUNT: Final = 10.0
FIRST_PART: Final = 10  # one in so many is picked by votes alone
KEPT: Final = 0.9  # of the others; the most confident tenth is never picked


class Ballot:
    """The votes for members of a pool, less those of voters that are served already.

    A member's score is the sum, over the members that count it among their nearest and are not picked, of
    10 ** -(how many of the voter's nearest are picked); Su et al. (2023), section 2.

    Args:
        rows: (P, D) embeddings of unit norm.
        neighbours: How many nearest members each one votes for, at most P - 1.
    """

    def __init__(self, rows: Rows, *, neighbours: int) -> None:
        from sklearn.neighbors import kneighbors_graph

        self._votes: csr_matrix = kneighbors_graph(rows, neighbours, include_self=False).T.tocsr()  # (for, by)
        self._served = np.zeros(len(rows))  # how many of each voter's nearest are picked
        self._free = np.ones(len(rows), dtype=bool)

    def scores(self) -> npt.NDArray[np.float64]:
        """Counts the votes.

        Returns:
            (P,) scores; -inf for those picked.
        """
        weights = np.where(self._free, DISCOUNT**-self._served, 0.0)
        counted: npt.NDArray[np.float64] = np.where(self._free, self._votes @ weights, -np.inf)
        return counted

    def pick(self, among: Sequence[int] | None = None) -> int:
        """Picks the member of the highest score.

        Args:
            among: Members that may be picked, at least one of them not picked before; by default all.

        Returns:
            The member; of equal scores the first.
        """
        scores = self.scores()
        members = np.arange(len(scores)) if among is None else np.array(among)
        best = int(members[scores[members].argmax()])
        self._free[best] = False
        self._served[self._votes[best].indices] += 1
        return best


class FastVoteKSelector:
    """Shows each query the nearest of the examples that fast vote-k annotates.

    Args:
        pool: The pool; the labels of those that are not annotated are not looked at.
        encoder: Embeds pool and queries.
        budget: How many examples are annotated, or k when that is more.
        neighbours: How many nearest members each one votes for: by default 150, or a twentieth of a smaller pool.
    """

    def __init__(self, pool: Pool, encoder: TextEncoder, *, budget: int = 100, neighbours: int | None = None) -> None:
        self._pool = pool
        self._encoder, self._query_encoder = encoder, query_encoder_of(encoder)
        self._budget = budget
        self._neighbours = neighbours
        self._known: dict[int, tuple[int, ...]] = {}

    def select(self, queries: Sequence[Query], k: int) -> list[Selection]:
        """Finds the k nearest annotated ones for each query; see `Selector.select`.

        Where the query leaves fewer than k of them, the first others of the pool are annotated too.
        """
        if not k or not queries:
            return [Selection((), ()) for _ in queries]
        allowed = [allowed_positions(self._pool, query, k) for query in queries]
        annotated = self.annotated(max(self._budget, k))
        rows = self._query_encoder.encode([input_text(query) for query in queries])
        return [self._nearest(row, own, annotated, k) for row, own in zip(rows, allowed, strict=True)]

    def annotated(self, size: int) -> tuple[int, ...]:
        """Chooses what is annotated.

        Args:
            size: How many; no more than there are voters.

        Returns:
            Distinct pool positions, first picked first.
        """
        if size not in self._known:
            count = min(size, len(self._voters))
            if len(self._voters) == 1:
                self._known[size] = tuple(self._voters)
            else:
                self._known[size] = tuple(self._voters[at] for at in self._elected(count))
        return self._known[size]

    @cached_property
    def _voters(self) -> list[int]:
        return draw_candidates(self._pool, max(MOST_VOTERS, self._budget), seed=0)

    def _ballot(self) -> Ballot:
        wanted = self._neighbours or min(NEIGHBOURS, len(self._voters) // VOTERS_TO_NEIGHBOURS)
        rows = self._encoder.encode([input_text(self._pool[position]) for position in self._voters])
        return Ballot(rows, neighbours=min(max(wanted, 1), len(rows) - 1))

    def _elected(self, size: int) -> list[int]:
        """Picks among the voters, of whom there are two or more."""
        ballot = self._ballot()
        return [ballot.pick() for _ in range(size)]

    def _nearest(self, row: Rows, allowed: list[int], annotated: Sequence[int], k: int) -> Selection:
        may_stand = set(allowed)
        candidates = [position for position in annotated if position in may_stand]
        if len(candidates) < k:
            others = may_stand.difference(candidates)
            candidates += sorted(others)[: k - len(candidates)]
        rows = self._encoder.encode([input_text(self._pool[position]) for position in candidates])
        return best_candidates_last(candidates, rows @ row, k)


class VoteKSelector(FastVoteKSelector):
    """Shows each query the nearest of the examples that vote-k annotates.

    A tenth is picked by votes alone and stands, in one order for all, before every other example of the pool, which the
    language model answers. Those are cut into as many levels of confidence as there are places left, and the one of
    the most votes is picked from each. Confidence is the probability of the most probable label.

    Args:
        engine: Says how sure it is; its pool is chosen from.
        encoder: Embeds pool and queries.
        budget: How many examples are annotated, or k when that is more.
        neighbours: How many nearest members each one votes for: by default 150, or a twentieth of a smaller pool.
        progress: Shows how many examples are asked.
    """

    def __init__(
        self,
        engine: InferenceEngine,
        encoder: TextEncoder,
        *,
        budget: int = 100,
        neighbours: int | None = None,
        progress: Progress = SILENT,
    ) -> None:
        super().__init__(engine.pool, encoder, budget=budget, neighbours=neighbours)
        self._engine = engine
        self._progress = progress

    def _elected(self, size: int) -> list[int]:
        ballot = self._ballot()
        picked = [ballot.pick() for _ in range(max(size // FIRST_PART, 1))]
        rest = [at for at in range(len(self._voters)) if at not in picked]
        places = size - len(picked)
        if not places:
            return picked
        confidence = self._confidence([self._voters[at] for at in picked], [self._voters[at] for at in rest])
        unsure_first = [rest[at] for at in np.argsort(confidence, kind="stable")]
        width = max(int(KEPT * len(rest) / places), 1)
        return picked + [ballot.pick(unsure_first[level * width :][:width]) for level in range(places)]

    def _confidence(self, first: Sequence[int], asked: Sequence[int]) -> npt.NDArray[np.float64]:
        """(M,) probability of the most probable label; an example never stands before its own duplicate."""
        queries = [self._pool[position] for position in asked]
        behind = []
        for query in queries:
            own = self._pool.duplicates_of(query)
            behind.append([Selection.of(*(position for position in first[::-1] if position not in own))])
        with self._progress.track("vote-k: confidence", len(queries)) as advance:
            rows = ask_options(queries, behind, self._engine.probabilities, advance=advance)
        confidence: npt.NDArray[np.float64] = np.round(np.concatenate([own.max(axis=1) for own in rows]), 9)
        return confidence
