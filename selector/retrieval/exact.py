"""Exact inner-product search that gives the same answer whatever the batch, ties by number.

Many queries are multiplied with all rows at once, several times as fast as FAISS's scan for each query. A few queries
scan a copy of the rows in eight bits, a quarter of the memory traffic, which is what such a scan costs; an error bound
then proves that nothing was missed, or the rows are scanned after all. Either way only says which rows may be among the
best: their own products are computed one by one, in one order of summation. This module knows arrays, nothing else.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.int64]

PRODUCTS_AT_ONCE: Final = 2**24  # 64 MiB of float32
BLOCK: Final = 64  # rows whose largest product stands for them when a bound is looked for
FEW: Final = 4  # queries for which a product of matrices, which copies the rows first, is no faster than one for each
WORTH_A_COPY: Final = 2000  # rows; a scan of fewer takes no time
ROUNDING: Final = 1e-5  # by how much two ways to compute a product of unit rows may differ, and more
LEAST: Final = float(np.finfo(np.float32).min)  # what is removed has less


class ExactSearch:
    """Searches rows that do not change.

    Args:
        rows: (P, D) float32; kept, not copied.
    """

    def __init__(self, rows: Rows) -> None:
        self.rows = rows
        self._coarse: _Coarse | None = None

    def search(self, queries: Rows, k: int, *, removed: Collection[int] = ()) -> tuple[Rows, Numbers]:
        """Finds the k best rows for each query.

        Args:
            queries: (N, D) float32.
            k: How many, at least 1 and at most as many as are not removed.
            removed: Numbers of rows that do not count.

        Returns:
            (N, k) inner products, descending, and (N, k) numbers; equal products stand in order of their number.
        """
        scores = np.empty((len(queries), k), dtype=np.float32)
        numbers = np.empty((len(queries), k), dtype=np.int64)
        hidden = np.fromiter(removed, dtype=np.int64, count=len(removed))
        part = max(1, PRODUCTS_AT_ONCE // len(self.rows))
        coarse: _Coarse | None = None  # which knows nothing of removed rows
        if len(queries) <= FEW and not removed and len(self.rows) >= WORTH_A_COPY:
            part = 1
            coarse = self._coarse = self._coarse or _Coarse(self.rows)
        for start in range(0, len(queries), part):
            asked = queries[start : start + part]
            near = None if coarse is None else coarse.near(asked[0], k)
            candidates = [near] if near is not None else self._candidates(asked, k, hidden)
            for at, (query, own) in enumerate(zip(asked, candidates, strict=True), start):
                scores[at], numbers[at] = _best(self.rows, query, own, k)
        return scores, numbers

    def _candidates(self, asked: Rows, k: int, hidden: Numbers) -> list[Numbers]:
        """Rows of which the k best are a part, by products with all rows."""
        products = asked @ self.rows.T if len(asked) > FEW else np.stack([self.rows @ query for query in asked])
        if len(hidden):
            products[:, hidden] = -np.inf
        slack = ROUNDING * np.maximum(1, np.linalg.norm(asked, axis=1))
        bounds = np.maximum(_bounds(products, k) - slack, LEAST)
        return [np.flatnonzero(own >= bound) for own, bound in zip(products, bounds, strict=True)]


class _Coarse:
    """Eight bits for each number, and how far they are off at most."""

    def __init__(self, rows: Rows) -> None:
        import faiss

        self._rows = rows
        self._index: Any = faiss.IndexScalarQuantizer(
            rows.shape[1], faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT
        )
        self._index.train(rows)
        self._index.add(rows)
        self._furthest = 0.0  # length of the largest difference between a row and its copy
        for start in range(0, len(rows), 4096):
            part = rows[start : start + 4096]
            off = part - self._index.reconstruct_n(start, len(part))
            self._furthest = max(self._furthest, float(np.sqrt(np.einsum("pd,pd->p", off, off).max())))

    def near(self, query: Rows, k: int) -> Numbers | None:
        """Rows of which the k best are a part, or None where that cannot be proven.

        A product with a copy is off by at most |query| times the length of the difference (Cauchy-Schwarz). So a row
        that is not among the M best copies has at most the M-th product and that; k rows with more are the best.
        """
        wanted = min(4 * k + 32, len(self._rows))
        products, numbers = self._index.search(query[None], wanted)
        length = float(np.linalg.norm(query))
        unseen = products[0, -1] + length * self._furthest + ROUNDING * max(1.0, length)
        own = np.einsum("pd,d->p", self._rows[numbers[0]], query)
        proven = wanted == len(self._rows) or (own > unseen).sum() >= k
        return np.asarray(numbers[0], dtype=np.int64) if proven else None


def _best(rows: Rows, query: Rows, candidates: Numbers, k: int) -> tuple[Rows, Numbers]:
    # The sum of each row by itself: a product of matrices adds up in an order that depends on their shapes.
    own = np.einsum("pd,d->p", rows[candidates], query)
    order = np.lexsort((candidates, -own))[:k]
    return own[order], candidates[order]


def _bounds(products: Rows, k: int) -> Rows:
    """(N,) products that at least k rows reach: the k-th largest of the largest of each block."""
    count = products.shape[1]
    blocks = max(2 * k, count // BLOCK)
    if blocks >= count:
        return np.partition(products, count - k, axis=1)[:, count - k]
    size = count // blocks
    # The members of a block lie apart, so that the largest of all blocks are maxima of long rows.
    largest = products[:, : blocks * size].reshape(len(products), size, blocks).max(axis=1)
    bounds: Rows = np.partition(largest, blocks - k, axis=1)[:, blocks - k]
    return bounds
