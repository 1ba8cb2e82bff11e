"""Inner-product search over embeddings: exact by matrix products, HNSW or IVF with FAISS, chosen by size.

FAISS keeps the rows of every kind, in memory or in a file that is mapped into it. Rows keep their number as long as the
index lives: removed ones are only passed over, added ones are numbered on. An index that its size no longer suits is
built anew out of its own rows. The files of a save carry one random id, so that no two saves are ever read as one. This
module knows vectors and their numbers, nothing else.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final
from uuid import uuid4

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError

from selector.data.paths import full_disk_named
from selector.errors import ArtifactError, DataFileError, TooFewExamplesError, UnknownNameError
from selector.retrieval.exact import ExactSearch

Rows = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.int64]

KINDS: Final = ("exact", "hnsw", "ivf")
# Rows up to which an index is chosen; the figures are those of benchmarks/search.py, on two cores.
EXACT_UP_TO, HNSW_UP_TO = 50_000, 200_000
LINKS, BUILD_BREADTH, SEARCH_BREADTH = 16, 80, 64  # of HNSW: M, efConstruction, efSearch
ROWS_PER_LIST, LISTS_SEARCHED = 1000, 32  # of IVF
MOST_GROWTH = 2  # of the lists that suit an IVF index over those that it has
INDEX_FILE, STATE_FILE = "index.faiss", "index.json"
SCRATCH = ".saving-"  # opens the name of the folder that a save is written into
VERSION = 2
VECTOR_FILES: Final = (INDEX_FILE, STATE_FILE)
REMEDY = "Build it again: shotsmith index --rebuild."


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
        self._automatic = kind == "auto"
        self.kind = _suiting(len(rows)) if self._automatic else kind
        self._index: Any = _empty(self.kind, rows)
        self._removed: set[int] = set()
        self._mapped = False
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
        if self._mapped:
            self._index, self._mapped = _in_memory(self._index), False
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

    def outgrown(self, added: int) -> bool:
        """Tells whether an index with more rows had better be `rebuilt` than get them by `add`.

        Args:
            added: How many more rows; may be 0.

        Returns:
            True where another kind suits the rows that are left and the kind was chosen automatically, where many more
            lists suit them, or where more than half of all rows are removed ones.
        """
        size = len(self) + added
        if not size:
            return False
        if 2 * len(self._removed) > size + len(self._removed):
            return True
        if self._automatic and _suiting(size) != self.kind:
            return True
        return self.kind == "ivf" and _suiting_lists(size) > MOST_GROWTH * int(self._index.nlist)

    def rebuilt(self, added: Rows) -> VectorIndex:
        """Makes an index of the rows that are left and further ones.

        Args:
            added: (A, D) float32; A may be 0.

        Returns:
            The index, of a kind chosen anew where it was chosen automatically. The rows that are left are numbered from
            0 in the order of their former numbers, those that are added stand behind them.
        """
        rows = np.concatenate([self.rows_of(self._left()), added])
        return VectorIndex(rows, kind="auto" if self._automatic else self.kind)

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

        Raises:
            DiskFullError: When there is no room; an index that is there stays as it is.
            DataFileError: When the folder cannot be written.
        """
        with saved_together(folder, VECTOR_FILES) as (scratch, save_id):
            self.write(scratch, save_id)

    def write(self, folder: Path, save_id: str) -> None:
        """Writes the index's own files, as a part of a save.

        Args:
            folder: Where; it is there.
            save_id: Of the save.
        """
        import faiss as typed_otherwise

        faiss: Any = typed_otherwise
        with (folder / INDEX_FILE).open("wb") as file:
            # A file that FAISS opens by itself keeps silent where its last bytes find no room.
            faiss.write_index(self._index, faiss.PyCallbackIOWriter(file.write))
            file.write(save_id.encode())  # FAISS reads no further than its own end
        state = {"version": VERSION, "save": save_id, "kind": self.kind, "automatic": self._automatic}
        content = json.dumps({**state, "removed": sorted(self._removed)})
        (folder / STATE_FILE).write_text(content + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, *, memory_map: bool = True, save_id: str | None = None) -> VectorIndex:
        """Reads an index.

        Args:
            folder: A folder written by `save`.
            memory_map: Whether rows stay in the file until they are needed; processes then share them.
            save_id: Of the save that it has to be of; None for any.

        Returns:
            The index.

        Raises:
            ArtifactError: When a file is missing, damaged, of another version or of another save.
        """
        path = folder / STATE_FILE
        try:
            state = json.loads(path.read_text(encoding="utf-8"))
            if state["version"] != VERSION:
                raise _unreadable(path, f"version {state['version']}", expected=f"version {VERSION}")
            kind, automatic, own_id = str(state["kind"]), bool(state["automatic"]), str(state["save"])
            removed = {int(number) for number in state["removed"]}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise _unreadable(path, str(error)) from error
        if kind not in KINDS:
            raise _unreadable(path, f"kind {kind!r}")
        if save_id not in (None, own_id):
            raise _unreadable(path, "of another save than the files beside it")
        index = cls.__new__(cls)
        index.kind, index._automatic, index._removed = kind, automatic, removed
        index._index = _read(folder / INDEX_FILE, memory_map=memory_map, save_id=own_id)
        index._mapped = memory_map
        index._exact = None
        return index

    def _left(self) -> Numbers:
        """The numbers of the rows that are not removed, ascending."""
        return np.setdiff1d(np.arange(self._index.ntotal, dtype=np.int64), np.array(sorted(self._removed), np.int64))

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
        left = self._left()
        products = queries @ self.rows_of(left).T
        best = np.argsort(-products, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(products, best, axis=1), left[best]


def _suiting(rows: int) -> str:
    if rows <= EXACT_UP_TO:
        return "exact"
    return "hnsw" if rows <= HNSW_UP_TO else "ivf"


def _suiting_lists(rows: int) -> int:
    return max(1, rows // ROWS_PER_LIST)


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
    lists = _suiting_lists(len(rows))
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(width), width, lists, faiss.METRIC_INNER_PRODUCT)
    index.train(np.ascontiguousarray(rows, dtype=np.float32))  # FAISS samples what k-means needs, with a fixed seed
    return index


def _read(path: Path, *, memory_map: bool, save_id: str) -> Any:
    import faiss

    try:
        index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC if memory_map else 0)
        with path.open("rb") as file:  # last, so that a file that is replaced meanwhile is noticed
            file.seek(-len(save_id), os.SEEK_END)
            own_id = file.read().decode("utf-8", errors="replace")
    except RuntimeError as error:
        raise _unreadable(path, "not an index of FAISS") from error
    except OSError as error:
        raise _unreadable(path, str(error)) from error
    if own_id != save_id:
        raise _unreadable(path, f"of another save than {STATE_FILE} beside it")
    return index


def _in_memory(index: Any) -> Any:
    """A copy of a mapped index, which cannot grow itself; its file may have been replaced since."""
    import faiss as typed_otherwise

    faiss: Any = typed_otherwise
    writer, reader = faiss.VectorIOWriter(), faiss.VectorIOReader()
    faiss.write_index(index, writer)
    reader.data.swap(writer.data)
    return faiss.read_index(reader)


def _unreadable(path: Path, reason: str, *, expected: str = "a file written by shotsmith") -> ArtifactError:
    return ArtifactError(f"index {path} cannot be read ({reason})", expected=expected, remedy=REMEDY)


@contextmanager
def saved_together(folder: Path, names: Sequence[str]) -> Iterator[tuple[Path, str]]:
    """Saves files that belong together: none takes its place before all of them are written.

    A reader that reads them in the reverse order, and finds one id in all, has files of one save.

    Args:
        folder: Where; made when missing. Files of these names are replaced.
        names: What will be written, in the order in which it takes its place.

    Yields:
        A folder to write the files into, and the id of the save, which every file has to carry.

    Raises:
        DiskFullError: When there is no room; files that are there stay as they are.
        DataFileError: When the folder or a file in it cannot be written.
    """
    try:
        with full_disk_named(folder):
            folder.mkdir(parents=True, exist_ok=True)
            for left in folder.glob(SCRATCH + "*"):  # by a save that was killed
                shutil.rmtree(left, ignore_errors=True)
            with TemporaryDirectory(prefix=SCRATCH, dir=folder, ignore_cleanup_errors=True) as scratch:
                yield Path(scratch), uuid4().hex
                for name in names:
                    (Path(scratch) / name).replace(folder / name)
    except (OSError, RuntimeError, SafetensorError) as error:
        raise DataFileError(
            f"index {folder} cannot be written ({error})",
            expected="a folder that can be written",
            remedy="Mend its permissions, or move away what stands in its place, and run the same command again.",
        ) from error
