"""From scores of the whole pool to selections: the ranking shared by all selectors that score candidates."""

from __future__ import annotations

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
