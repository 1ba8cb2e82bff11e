"""An index of texts that follows a changing list: only new texts are embedded, and nothing is trained again.

This module knows texts and an encoder; what the texts stand for is its user's affair.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from selector.errors import ArtifactError, ArtifactMismatchError
from selector.retrieval.encoder import TextEncoder
from selector.retrieval.index import REMEDY, VECTOR_FILES, Numbers, Rows, VectorIndex, saved_together

DIGESTS_FILE, CARD_FILE = "texts.safetensors", "texts.json"
DIGEST_BYTES = 16
GONE = -1


class TextIndex:
    """Finds the texts nearest to others.

    Args:
        encoder: Embeds the texts.
        texts: P texts; results are positions in this list.
        kind: Of the `VectorIndex`.
    """

    def __init__(self, encoder: TextEncoder, texts: Sequence[str], *, kind: str = "auto") -> None:
        self._encoder = encoder
        self._vectors = VectorIndex(encoder.encode(texts), kind=kind)
        self._digests = _digests(texts)  # (rows in the index, with removed ones, 16) uint8
        self._positions: Numbers = np.arange(len(texts), dtype=np.int64)  # of each row in the list of texts
        self._numbers: Numbers = self._positions  # of the row of each text
        self._ordered = True  # whether rows stand in the order of the texts

    def __len__(self) -> int:
        return len(self._vectors)

    @property
    def kind(self) -> str:
        """How the rows are searched: "exact", "hnsw" or "ivf"."""
        return self._vectors.kind

    def update(self, texts: Sequence[str]) -> int:
        """Makes results positions in another list of texts.

        Args:
            texts: P' texts; those that were there before are not embedded again, even where the index is built anew
                because its kind no longer suits its size.

        Returns:
            How many texts were embedded.
        """
        digests = _digests(texts)
        wanted: defaultdict[bytes, list[int]] = defaultdict(list)
        for position in range(len(texts) - 1, -1, -1):
            wanted[digests[position].tobytes()].append(position)
        positions = np.full(len(self._positions), GONE, dtype=np.int64)
        for row in np.flatnonzero(self._positions != GONE):
            if left := wanted[self._digests[row].tobytes()]:
                positions[row] = left.pop()
        new = sorted(position for left in wanted.values() for position in left)
        rows = np.zeros((0, self._vectors.width), dtype=np.float32)
        if new:  # first: where an encoder fails, nothing has changed
            rows = self._encoder.encode([texts[position] for position in new])
        self._vectors.remove(np.flatnonzero(positions == GONE))
        if self._vectors.outgrown(len(new)):
            self._vectors = self._vectors.rebuilt(rows)  # which leaves out what is gone
            self._digests, positions = self._digests[positions != GONE], positions[positions != GONE]
        elif new:
            self._vectors.add(rows)
        if new:
            self._digests = np.concatenate([self._digests, digests[new]])
        self._positions = np.concatenate([positions, np.array(new, dtype=np.int64)])
        kept = np.flatnonzero(self._positions != GONE)
        self._numbers = np.empty(len(texts), dtype=np.int64)
        self._numbers[self._positions[kept]] = kept
        self._ordered = bool((np.diff(self._positions[kept]) > 0).all())
        return len(new)

    def search(self, rows: Rows, k: int) -> tuple[Rows, Numbers]:
        """Finds the nearest texts.

        Args:
            rows: (N, D) embeddings.
            k: How many; at most the number of texts.

        Returns:
            (N, k) similarities, descending, and (N, k) positions; equal ones stand in order of position.

        Raises:
            TooFewExamplesError: When there are fewer than k texts.
        """
        scores, numbers = self._vectors.search(rows, k)
        positions = self._positions[numbers]
        if self._ordered:  # ties stand in order already
            return scores, positions
        order = np.lexsort((positions, -scores), axis=1)
        return np.take_along_axis(scores, order, axis=1), np.take_along_axis(positions, order, axis=1)

    def rows_of(self, positions: Sequence[int]) -> Rows:
        """Gives the embeddings of texts.

        Args:
            positions: N positions in the list of texts.

        Returns:
            (N, D) the embeddings.
        """
        return self._vectors.rows_of(self._numbers[list(positions)])

    def save(self, folder: Path) -> None:
        """Writes the index: rows, digests of the texts, and the encoder's fingerprint; no text.

        Args:
            folder: Where; made when missing. An index that is there is replaced.

        Raises:
            DiskFullError: When there is no room; an index that is there stays as it is.
            DataFileError: When the folder cannot be written.
        """
        with saved_together(folder, (*VECTOR_FILES, DIGESTS_FILE, CARD_FILE)) as (scratch, save_id):
            self._vectors.write(scratch, save_id)
            tensors = {"digests": self._digests, "positions": self._positions}
            save_file(tensors, scratch / DIGESTS_FILE, metadata={"save": save_id})
            card = {"save": save_id, "encoder": self._encoder.fingerprint}
            (scratch / CARD_FILE).write_text(json.dumps(card) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, encoder: TextEncoder, texts: Sequence[str], *, memory_map: bool = True) -> TextIndex:
        """Reads an index and updates it to a list of texts.

        Args:
            folder: A folder written by `save`.
            encoder: The encoder it was made with.
            texts: The texts as they are now.
            memory_map: Whether rows stay in the file until they are needed.

        Returns:
            The index.

        Raises:
            ArtifactError: When a file is missing, damaged, of another version or of another save than the others.
            ArtifactMismatchError: When it was made with another encoder.
        """
        made_with, save_id, digests, positions = _read_texts(folder)
        if made_with != encoder.fingerprint:
            raise ArtifactMismatchError(
                part="encoder",
                artifact=made_with,
                present=encoder.fingerprint,
                remedy="Load the encoder that the index was made with, or build the index again.",
            )
        index = cls.__new__(cls)
        index._encoder = encoder
        index._vectors = VectorIndex.load(folder, memory_map=memory_map, save_id=save_id)
        if len(positions) != len(digests) or int((positions != GONE).sum()) != len(index._vectors):
            raise _damaged(folder, f"{len(index._vectors)} vectors for {len(digests)} texts")
        index._digests, index._positions = digests, positions
        index.update(texts)
        return index


def _read_texts(folder: Path) -> tuple[str, str, npt.NDArray[np.uint8], Numbers]:
    """The fingerprint of the encoder, the id of the save, digests and positions."""
    try:
        card = json.loads((folder / CARD_FILE).read_text(encoding="utf-8"))
        made_with, save_id = str(card["encoder"]), str(card.get("save", ""))  # the first version had no id
        with safe_open(folder / DIGESTS_FILE, framework="numpy") as file:
            own_id = (file.metadata() or {}).get("save", "")
            digests, positions = file.get_tensor("digests"), file.get_tensor("positions")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        raise _damaged(folder, type(error).__name__) from error
    if own_id != save_id:
        raise _damaged(folder, "files of two saves")
    return made_with, save_id, digests, positions


def _damaged(folder: Path, reason: str) -> ArtifactError:
    return ArtifactError(
        f"index {folder} is missing or damaged ({reason})", expected="a folder written by shotsmith", remedy=REMEDY
    )


def _digests(texts: Sequence[str]) -> npt.NDArray[np.uint8]:
    joined = b"".join(hashlib.sha256(text.encode()).digest()[:DIGEST_BYTES] for text in texts)
    return np.frombuffer(joined, dtype=np.uint8).reshape(len(texts), DIGEST_BYTES)
