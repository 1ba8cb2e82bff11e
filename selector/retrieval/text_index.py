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
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from selector.errors import ArtifactError, ArtifactMismatchError
from selector.retrieval.encoder import TextEncoder
from selector.retrieval.index import Numbers, Rows, VectorIndex

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
        self._digests = _digests(texts)  # (rows ever added, 16) uint8
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
            texts: P' texts; those that were there before are not embedded again.

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
        self._vectors.remove(np.flatnonzero(positions == GONE))
        if new:
            self._vectors.add(self._encoder.encode([texts[position] for position in new]))
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
            folder: Where; made when missing.
        """
        self._vectors.save(folder)
        save_file({"digests": self._digests, "positions": self._positions}, folder / DIGESTS_FILE)
        card = {"encoder": self._encoder.fingerprint}
        (folder / CARD_FILE).write_text(json.dumps(card) + "\n", encoding="utf-8")

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
            ArtifactError: When a file is missing or damaged.
            ArtifactMismatchError: When it was made with another encoder.
        """
        try:
            made_with = str(json.loads((folder / CARD_FILE).read_text(encoding="utf-8"))["encoder"])
            tensors = load_file(folder / DIGESTS_FILE)
            digests, positions = tensors["digests"], tensors["positions"]
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise ArtifactError(
                f"index {folder} is missing or damaged ({type(error).__name__})",
                expected="a folder written by shotsmith",
                remedy="Build it again.",
            ) from error
        if made_with != encoder.fingerprint:
            raise ArtifactMismatchError(
                part="encoder",
                artifact=made_with,
                present=encoder.fingerprint,
                remedy="Load the encoder that the index was made with, or build the index again.",
            )
        index = cls.__new__(cls)
        index._encoder, index._vectors = encoder, VectorIndex.load(folder, memory_map=memory_map)
        if len(positions) != len(digests) or int((positions != GONE).sum()) != len(index._vectors):
            # A save that was cut leaves files of two saves.
            raise ArtifactError(
                f"index {folder} has {len(index._vectors)} vectors for {len(digests)} texts",
                expected="a vector for each text",
                remedy="Delete the index's files and build it again.",
            )
        index._digests, index._positions = digests, positions
        index.update(texts)
        return index


def _digests(texts: Sequence[str]) -> npt.NDArray[np.uint8]:
    joined = b"".join(hashlib.sha256(text.encode()).digest()[:DIGEST_BYTES] for text in texts)
    return np.frombuffer(joined, dtype=np.uint8).reshape(len(texts), DIGEST_BYTES)
