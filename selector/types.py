"""The values that flow through every stage: Example, Query, Selection, Prediction.

They are frozen and checked where they are made, so that no later stage checks again. They know nothing of prompts,
models or files.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from selector.errors import InvalidExampleError, ShotsmithError


@dataclass(frozen=True, slots=True)
class Example:
    """One row: raw text fields and, where known, the label. Never template text.

    Attributes:
        uid: Identifies the row within its data set; not empty.
        fields: Field name to raw text; at least one field.
        label: The gold label by name, or None when it is not known. Where there are choices it is the text of one.
        choices: The texts to choose from, where every row has choices of its own; else empty.
        aliases: Other texts that are as right as the label, where answers are free text.
        rationale: The steps that lead to the label; shown in demonstrations only, and only where the template asks.
    """

    uid: str
    fields: Mapping[str, str]
    label: str | None = None
    choices: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    rationale: str | None = None

    def __post_init__(self) -> None:
        if not self.uid:
            raise InvalidExampleError("an example has an empty uid", expected="a non-empty uid", remedy="Name the row.")
        wrong = sorted(name for name, value in self.fields.items() if not isinstance(value, str))
        if wrong or not self.fields:
            raise InvalidExampleError(
                f"example {self.uid!r} has "
                + (f"fields that are not text: {', '.join(wrong)}" if wrong else "no fields"),
                expected="at least one field, every one of them text",
                remedy="Correct the row or choose other input fields.",
            )


Query: TypeAlias = Example
"""A query is an example whose label is asked for; its label, aliases and rationale are never shown to a model."""


@dataclass(frozen=True, slots=True)
class Selection:
    """The demonstrations chosen for one query, as positions in the pool.

    Attributes:
        indices: Pool positions IN PROMPT ORDER: the last stands next to the query. No position occurs twice.
        scores: One score for each index, higher is better; what it measures is up to the selector.
    """

    indices: tuple[int, ...]
    scores: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.indices) != len(self.scores):
            raise ShotsmithError(
                f"a selection has {len(self.indices)} indices and {len(self.scores)} scores",
                expected="one score for each index",
                remedy="Correct the selector.",
            )
        if len(set(self.indices)) != len(self.indices) or any(index < 0 for index in self.indices):
            raise ShotsmithError(
                f"a selection holds {self.indices}",
                expected="pool positions of 0 or more, each at most once",
                remedy="Correct the selector.",
            )

    @classmethod
    def of(cls, *indices: int) -> Selection:
        """Makes a selection whose scores say nothing (all 0).

        Args:
            *indices: Pool positions in prompt order.

        Returns:
            The selection.
        """
        return cls(indices=tuple(indices), scores=(0.0,) * len(indices))


@dataclass(frozen=True, slots=True)
class Prediction:
    """The answer to one query.

    Attributes:
        label: The predicted label, the one of the highest score; where targets are free text, the answer read from it.
        scores: Label to score, nats after calibration; higher is better. Empty where targets are free text.
        selection: The demonstrations that were really shown, after the window budget.
        text: What was written, where targets are free text; else empty.
    """

    label: str
    scores: Mapping[str, float]
    selection: Selection
    text: str = ""

    @property
    def probabilities(self) -> dict[str, float]:
        """The scores as a distribution over the labels (softmax)."""
        top = max(self.scores.values(), default=0.0)
        weights = {label: math.exp(score - top) for label, score in self.scores.items()}
        total = sum(weights.values())
        return {label: weight / total for label, weight in weights.items()}
