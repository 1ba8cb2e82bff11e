"""Label rules: from the scores of a query's candidates to what it is drawn to and what it is driven from.

Beside the rules for scored candidates stands the rule for members of the pool that no language model has scored:
there a candidate's label speaks (LLM-R, section 3.1, gives demonstrations of another label the score -100).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from policies.mined import Candidate, MinedQuery
from selector.data.pool import Pool
from selector.errors import UnknownNameError, UsageError
from selector.retrieval.index import Rows
from selector.types import Example

RULES: Final = ("top-bottom", "threshold", "all")
OTHER_LABEL_SCORE = -100.0  # nats


@dataclass(frozen=True)
class LabelRule:
    """Which candidates are good and which are bad.

    Attributes:
        name: "top-bottom" takes the best and the worst of each list (Rubin et al., 2022); "threshold" parts a list at
            a probability of the gold label; "all" takes the best one against all others.
        positives: Good candidates at most, of the top.
        negatives: Bad candidates at most, of the bottom.
        threshold: The probability from which a candidate is good; only for "threshold".
        same_label: Whether a candidate of another label than the query's is never good (LLM-R).
    """

    name: str = "top-bottom"
    positives: int = 4
    negatives: int = 5
    threshold: float = 0.5
    same_label: bool = True

    def __post_init__(self) -> None:
        if self.name not in RULES:
            raise UnknownNameError("label rule", self.name, known=RULES)
        if min(self.positives, self.negatives) < 1 or not 0 < self.threshold < 1:
            raise UsageError(
                f"the label rule is set to {self}",
                expected="at least one positive and one negative, a threshold between 0 and 1",
                remedy="Correct the setting.",
            )


@dataclass(frozen=True, slots=True)
class TrainingQuery:
    """A query with what it is drawn to and driven from.

    Attributes:
        query: The query.
        positives: Pool positions of good candidates, best first; not empty.
        negatives: Pool positions of bad candidates, worst last; not empty, each scored below every positive.
        scores: Position to score of all of these, nats.
    """

    query: Example
    positives: tuple[int, ...]
    negatives: tuple[int, ...]
    scores: Mapping[int, float] = field(default_factory=dict)


def split_candidates(mined: MinedQuery, pool: Pool, rule: LabelRule) -> TrainingQuery | None:
    """Splits a query's candidates by a rule. Ties across the border are left out.

    Args:
        mined: The query with its candidates, best first.
        pool: What positions refer to.
        rule: The rule.

    Returns:
        The split, or None when nothing can be learned: all are equally good, or all are good or all bad.
    """
    good, bad = _sides(mined.candidates, rule)
    if rule.same_label:
        good = [one for one in good if pool[one.position].label == mined.query.label]
    if not good:
        return None
    # What scored like the worst positive is no negative: they are parted by chance alone.
    bad = [one for one in bad if one.score < good[0].score]
    if not bad:
        return None
    good = [one for one in good if one.score > bad[0].score]
    return TrainingQuery(
        mined.query,
        tuple(one.position for one in good),
        tuple(one.position for one in bad),
        {one.position: one.score for one in (*good, *bad)},
    )


def _sides(candidates: Sequence[Candidate], rule: LabelRule) -> tuple[list[Candidate], list[Candidate]]:
    if rule.name == "all":
        return list(candidates[:1]), list(candidates[1:])
    if rule.name == "threshold":
        border = math.log(rule.threshold)
        good = [one for one in candidates if one.score >= border]
        bad = [one for one in candidates if one.score < border]
        return good[: rule.positives], bad[-rule.negatives :]
    half = len(candidates) // 2
    return (
        list(candidates[: min(rule.positives, half)]),
        list(candidates[len(candidates) - min(rule.negatives, half) :]),
    )


def candidates_by_label(
    queries: Sequence[Example], pool: Pool, *, rows: Rows, query_rows: Rows, rule: LabelRule, seed: int
) -> list[MinedQuery]:
    """Scores candidates by their label alone.

    Members of the query's label are drawn from the whole pool, so that every part of a class is drawn to every other;
    those of other labels are the nearest, for they are the ones that would be retrieved wrongly.

    Args:
        queries: N labelled queries.
        pool: P candidates.
        rows: (P, D) embeddings of the candidates.
        query_rows: (N, D) embeddings of the queries.
        rule: How many of each kind.
        seed: Seeds the draws.

    Returns:
        N queries; candidates of their label score 0, the others -100.
    """
    rng = np.random.default_rng(seed)
    labels = np.array([str(example.label) for example in pool])
    mined = []
    for query, row in zip(queries, query_rows, strict=True):
        allowed = np.ones(len(pool), dtype=bool)
        allowed[list(pool.duplicates_of(query))] = False
        same = np.flatnonzero(allowed & (labels == query.label))
        other = np.flatnonzero(allowed & (labels != query.label))
        drawn = rng.permutation(same)[: rule.positives]
        nearest = other[np.argsort(-(rows[other] @ row), kind="stable")[: rule.negatives]]
        found = [Candidate(int(at), pool[int(at)].uid, 0.0) for at in drawn]
        found += [Candidate(int(at), pool[int(at)].uid, OTHER_LABEL_SCORE) for at in nearest]
        mined.append(MinedQuery(query, tuple(found)))
    return mined


def split_by_label(mined: MinedQuery) -> TrainingQuery | None:
    """Splits the candidates of `candidates_by_label`.

    Args:
        mined: A query from there.

    Returns:
        The split, or None when the pool holds no other member of its label, or none of another.
    """
    good = tuple(one.position for one in mined.candidates if one.score == 0)
    bad = tuple(one.position for one in mined.candidates if one.score < 0)
    if not good or not bad:
        return None
    return TrainingQuery(mined.query, good, bad, {one.position: one.score for one in mined.candidates})
