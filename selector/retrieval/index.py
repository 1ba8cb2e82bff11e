"""Exact inner-product search over embeddings with FAISS. Knows vectors and their positions, nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from selector.errors import ArtifactError, TooFewExamplesError

Rows = npt.NDArray[np.float32]


class VectorIndex:
    """Finds the rows with the largest inner product.

    Args:
        rows: (P, D) float32.
    """

    def __init__(self, rows: Rows) -> None:
        import faiss

        self._index: Any = faiss.IndexFlatIP(rows.shape[1])
        self._index.add(np.ascontiguousarray(rows, dtype=np.float32))

    def __len__(self) -> int:
        return int(self._index.ntotal)

    @property
    def width(self) -> int:
        """D, the length of a row."""
        return int(self._index.d)

    def search(self, queries: Rows, k: int) -> tuple[Rows, npt.NDArray[np.int64]]:
        """Finds the k best rows for each query.

        Args:
            queries: (N, D) float32.
            k: How many; at most the number of rows.

        Returns:
            (N, k) inner products, descending, and (N, k) positions; equal products stand in order of position.

        Raises:
            TooFewExamplesError: When there are fewer than k rows.
        """
        if k > len(self):
            raise TooFewExamplesError(available=len(self), wanted=k, what="indexed rows")
        if not len(queries) or not k:
            return np.zeros((len(queries), k), np.float32), np.zeros((len(queries), k), np.int64)
        scores, positions = self._index.search(np.ascontiguousarray(queries, dtype=np.float32), k)
        order = np.lexsort((positions, -scores), axis=1)
        return np.take_along_axis(scores, order, axis=1), np.take_along_axis(positions, order, axis=1)

    def save(self, path: Path) -> None:
        """Writes the index to a file of FAISS's own format.

        Args:
            path: The file.
        """
        import faiss

        faiss.write_index(self._index, str(path))

    @classmethod
    def load(cls, path: Path) -> VectorIndex:
        """Reads an index.

        Args:
            path: A file written by `save`.

        Returns:
            The index.

        Raises:
            ArtifactError: When the file is missing or damaged.
        """
        import faiss

        try:
            loaded = faiss.read_index(str(path))
        except RuntimeError as error:
            raise ArtifactError(
                f"index {path} cannot be read", expected="a file written by shotsmith", remedy="Build it again."
            ) from error
        index = cls.__new__(cls)
        index._index = loaded
        return index
