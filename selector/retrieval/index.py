"""Inner-product search over embeddings: exact by matrix products, HNSW or IVF with FAISS, chosen by size.

FAISS keeps the rows of every kind, in memory or in a file that is mapped into it. Rows keep their number for ever:
removed ones are only passed over, added ones are numbered on. This module knows vectors and
their numbers, nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from selector.errors import ArtifactError, TooFewExamplesError, UnknownNameError
from selector.retrieval.exact import ExactSearch

Rows = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.int64]

KINDS: Final = ("exact", "hnsw", "ivf")
# Rows up to which an index is chosen; the figures are those of benchmarks/search.py, on two cores.
EXACT_UP_TO, HNSW_UP_TO = 50_000, 500_000
LINKS, BUILD_BREADTH, SEARCH_BREADTH = 16, 80, 64  # of HNSW: M, efConstruction, efSearch
ROWS_PER_LIST, LISTS_SEARCHED = 1000, 32  # of IVF
INDEX_FILE, STATE_FILE = "index.faiss", "index.json"
VERSION = 1


class VectorIndex:
    """Finds the rows with the largest inner product.

    Args:
        rows: (P, D) float32.
        kind: One of `KINDS`, or "auto" for the one that suits P.

    Raises:
        UnknownNameError: When there is no such kind.
    """

    def __init__(self, rows: Rows, *, kind: str = "auto") -> None:
        if kind not in (*KINDS, "auto"):
            raise UnknownNameError("index", kind, known=(*KINDS, "auto"))
        self.kind = _suiting(len(rows)) if kind == "auto" else kind
        self._index: Any = _empty(self.kind, rows)
        self._removed: set[int] = set()
        self._file: Path | None = None
        self._exact: ExactSearch | None = None
        self._index.add(np.ascontiguousarray(rows, dtype=np.float32))

    def __len__(self) -> int:
        return int(self._index.ntotal) - len(self._removed)

    @property
    def width(self) -> int:
        """D, the length of a row."""
        return int(self._index.d)

    def add(self, rows: Rows) -> Numbers:
        """Adds rows.

        Args:
            rows: (A, D) float32.

        Returns:
            (A,) their numbers, behind all that were ever given.
        """
        if self._file is not None:  # mapped memory cannot grow
            self._index, self._file = _read(self._file, memory_map=False), None
        self._exact = None  # where FAISS keeps the rows changes
        first = int(self._index.ntotal)
        self._index.add(np.ascontiguousarray(rows, dtype=np.float32))
        return np.arange(first, self._index.ntotal, dtype=np.int64)

    def remove(self, numbers: Sequence[int] | Numbers) -> None:
        """Hides rows from every later search.

        Args:
            numbers: Which; those that are not there are passed over.
        """
        self._removed |= {int(number) for number in numbers if 0 <= number < self._index.ntotal}

    def search(self, queries: Rows, k: int) -> tuple[Rows, Numbers]:
        """Finds the k best rows for each query.

        Args:
            queries: (N, D) float32.
            k: How many; at most the number of rows.

        Returns:
            (N, k) inner products, descending, and (N, k) numbers; equal products stand in order of their number.

        Raises:
            TooFewExamplesError: When there are fewer than k rows.
        """
        if k > len(self):
            raise TooFewExamplesError(available=len(self), wanted=k, what="indexed rows")
        if not len(queries) or not k:
            return np.zeros((len(queries), k), np.float32), np.zeros((len(queries), k), np.int64)
        asked = np.ascontiguousarray(queries, dtype=np.float32)
        if self.kind == "exact":
            self._exact = self._exact or ExactSearch(self._stored())
            return self._exact.search(asked, k, removed=self._removed)
        scores, numbers = self._index.search(asked, k, params=self._parameters(k))
        short = np.flatnonzero((numbers < 0).any(axis=1))
        if len(short):  # a graph or few lists may not hold k rows that are left
            scores[short], numbers[short] = self._searched_through(asked[short], k)
        order = np.lexsort((numbers, -scores), axis=1)
        return np.take_along_axis(scores, order, axis=1), np.take_along_axis(numbers, order, axis=1)

    def rows_of(self, numbers: Numbers) -> Rows:
        """Gives rows by their number.

        Args:
            numbers: (N,) numbers.

        Returns:
            (N, D) the rows.
        """
        if self.kind == "ivf":
            self._index.make_direct_map()
        rows: Rows = self._index.reconstruct_batch(np.ascontiguousarray(numbers, dtype=np.int64))
        return rows

    def save(self, folder: Path) -> None:
        """Writes the index.

        Args:
            folder: Where; made when missing. An index that is there is replaced.
        """
        import faiss

        folder.mkdir(parents=True, exist_ok=True)
        scratch = folder / (INDEX_FILE + ".part")
        faiss.write_index(self._index, str(scratch))
        state = {"version": VERSION, "kind": self.kind, "removed": sorted(self._removed)}
        (folder / STATE_FILE).write_text(json.dumps(state) + "\n", encoding="utf-8")
        scratch.replace(folder / INDEX_FILE)

    @classmethod
    def load(cls, folder: Path, *, memory_map: bool = True) -> VectorIndex:
        """Reads an index.

        Args:
            folder: A folder written by `save`.
            memory_map: Whether rows stay in the file until they are needed; processes then share them.

        Returns:
            The index.

        Raises:
            ArtifactError: When a file is missing, damaged or of another version.
        """
        try:
            state = json.loads((folder / STATE_FILE).read_text(encoding="utf-8"))
            version, kind = state["version"], str(state["kind"])
            removed = {int(number) for number in state["removed"]}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise _unreadable(folder / STATE_FILE, str(error)) from error
        if version != VERSION or kind not in KINDS:
            raise _unreadable(folder / STATE_FILE, f"version {version}, kind {kind!r}")
        index = cls.__new__(cls)
        index.kind, index._removed = kind, removed
        index._index = _read(folder / INDEX_FILE, memory_map=memory_map)
        index._file = folder / INDEX_FILE if memory_map else None
        index._exact = None
        return index

    def _stored(self) -> Rows:
        """(P, D) the rows of an exact index where FAISS keeps them."""
        import faiss

        size = int(self._index.ntotal) * self.width
        rows: Rows = faiss.rev_swig_ptr(self._index.get_xb(), size).reshape(-1, self.width)
        return rows

    def _parameters(self, k: int) -> Any:
        import faiss as typed_otherwise

        faiss: Any = typed_otherwise  # its stubs lack names that it has
        chosen: dict[str, Any] = {}
        if self._removed:
            chosen["sel"] = faiss.IDSelectorNot(faiss.IDSelectorBatch(sorted(self._removed)))
        if self.kind == "hnsw":
            return faiss.SearchParametersHNSW(efSearch=max(SEARCH_BREADTH, 2 * k), **chosen)
        if self.kind == "ivf":
            return faiss.SearchParametersIVF(nprobe=min(LISTS_SEARCHED, self._index.nlist), **chosen)
        return faiss.SearchParameters(**chosen) if chosen else None

    def _searched_through(self, queries: Rows, k: int) -> tuple[Rows, Numbers]:
        """Exact search over all that is left."""
        left = np.setdiff1d(np.arange(self._index.ntotal, dtype=np.int64), np.array(sorted(self._removed), np.int64))
        products = queries @ self.rows_of(left).T
        best = np.argsort(-products, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(products, best, axis=1), left[best]


def _suiting(rows: int) -> str:
    if rows <= EXACT_UP_TO:
        return "exact"
    return "hnsw" if rows <= HNSW_UP_TO else "ivf"


def _empty(kind: str, rows: Rows) -> Any:
    import faiss

    width = rows.shape[1]
    if kind == "exact":
        return faiss.IndexFlatIP(width)
    index: Any
    if kind == "hnsw":
        index = faiss.IndexHNSWFlat(width, LINKS, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = BUILD_BREADTH
        return index
    lists = max(1, len(rows) // ROWS_PER_LIST)
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(width), width, lists, faiss.METRIC_INNER_PRODUCT)
    index.train(np.ascontiguousarray(rows, dtype=np.float32))  # FAISS samples what k-means needs, with a fixed seed
    return index


def _read(path: Path, *, memory_map: bool) -> Any:
    import faiss

    try:
        return faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC if memory_map else 0)
    except RuntimeError as error:
        raise _unreadable(path, "not an index of FAISS") from error


def _unreadable(path: Path, reason: str) -> ArtifactError:
    return ArtifactError(
        f"index {path} cannot be read ({reason})", expected="a file written by shotsmith", remedy="Build it again."
    )
