"""Text to unit-norm float32 rows. Knows sentence-transformers; knows nothing of examples, labels or indexes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt


@runtime_checkable
class TextEncoder(Protocol):
    """What retrieval needs of an encoder.

    Attributes:
        fingerprint: Identifies the weights; equal fingerprints give equal embeddings.
        width: D, the length of an embedding.
    """

    @property
    def fingerprint(self) -> str: ...
    @property
    def width(self) -> int: ...

    def encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Embeds texts.

        Args:
            texts: N texts.

        Returns:
            (N, D) float32, every row of unit norm; the dot product is the cosine similarity.
        """
        ...
