"""How sure the language model is of each candidate as a query (Zhang, Feng & Tan, 2022). Remembers what it was asked.

This is the costly part of what a policy can see: every state asks for the labels of all candidates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from selector.inference.engine import InferenceEngine
from selector.learned.corpus_observation import LM_FEATURES, Columns
from selector.types import Selection


class LabelUncertainty:
    """Describes the label distribution of candidates without their label, behind given demonstrations.

    Args:
        engine: The engine; its pool holds the candidates.
        indices: K pool positions.

    Raises:
        OwnChoicesError: When queries have choices of their own.
    """

    def __init__(self, engine: InferenceEngine, indices: Sequence[int]) -> None:
        engine.require_shared_labels("features of the language model")
        self._engine = engine
        self._indices = tuple(indices)
        self._known: dict[tuple[int, ...], Columns] = {}

    @property
    def unasked(self) -> Columns:
        """(K, 4) zeros, where no candidate can be chosen any more and nothing is asked."""
        return np.zeros((len(self._indices), len(LM_FEATURES)), dtype=np.float32)

    def columns(self, selections: Sequence[Selection]) -> list[Columns]:
        """Describes all candidates behind each selection, with one call of the language model for what is new.

        Args:
            selections: N selections of demonstrations.

        Returns:
            N arrays (K, 4) float32; see `selector.learned.corpus_observation.LM_FEATURES`.

        Raises:
            UsageError: When targets are free text.
        """
        new = list({one.indices: one for one in selections if one.indices not in self._known}.values())
        if new:
            asked = [self._engine.pool[index] for index in self._indices] * len(new)
            behind = [selection for selection in new for _ in self._indices]
            probabilities = self._engine.probabilities(asked, behind)  # (N * K, L)
            labels = probabilities.shape[1]
            logs = np.log(np.maximum(probabilities, 1e-30))
            described = np.stack(
                [
                    -(probabilities * logs).sum(axis=1) / np.log(max(labels, 2)),
                    probabilities.min(axis=1),
                    probabilities.max(axis=1),
                    probabilities.std(axis=1),
                ],
                axis=1,
            ).astype(np.float32)
            for selection, rows in zip(new, np.split(described, len(new)), strict=True):
                self._known[selection.indices] = rows
        return [self._known[selection.indices] for selection in selections]

    @property
    def known(self) -> Mapping[tuple[int, ...], Columns]:
        """What was asked so far, by the pool positions of the demonstrations."""
        return self._known

    def remember(self, indices: tuple[int, ...], columns: Columns) -> None:
        """Takes in what was asked in another process.

        Args:
            indices: Pool positions of the demonstrations.
            columns: (K, 4) what `columns` gave for them.
        """
        self._known[indices] = columns
