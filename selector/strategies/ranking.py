"""From scores to selections: the rankings shared by all selectors that score candidates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from selector.data.pool import Pool
from selector.strategies.base import allowed_positions
from selector.types import Query, Selection


def best_last(pool: Pool, query: Query, scores: npt.NDArray[np.floating], k: int) -> Selection:
    """Takes the k best candidates that may stand in the query's prompt, the best one last.

    Args:
        pool: The pool of P examples.
        query: The query; itself and its duplicates are left out.
        scores: (P,) score of every member, higher is better.
        k: How many.

    Returns:
        The selection; of equal scores the lower position counts as better.

    Raises:
        TooFewExamplesError: When fewer than k may stand there.
    """
    allowed = np.array(allowed_positions(pool, query, k), dtype=np.int64)
    order = np.argsort(-scores[allowed], kind="stable")[:k]
    chosen = allowed[order][::-1]
    return Selection(tuple(map(int, chosen)), tuple(float(scores[position]) for position in chosen))


def best_candidates_last(candidates: Sequence[int], scores: npt.NDArray[np.floating], k: int) -> Selection:
    """Takes the k best of some candidates, the best one last.

    Args:
        candidates: K pool positions that may stand in the prompt.
        scores: (K,) score of each, higher is better.
        k: How many, at most K.

    Returns:
        The selection; of equal scores the earlier candidate counts as better.
    """
    order = np.argsort(-scores, kind="stable")[:k][::-1]
    return Selection(tuple(candidates[at] for at in order), tuple(float(scores[at]) for at in order))
