"""Answering while counting what each phase asks of the language model: selecting, ordering, answering.

This module knows pipelines; it knows nothing of methods, comparisons or files.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from selector.lm.base import LanguageModel, Usage
from selector.pipeline import Pipeline
from selector.types import Example, Prediction

PHASES: Final = ("selecting", "ordering", "answering")


@dataclass(frozen=True)
class PhaseUsage:
    """What was asked of the language model in each phase.

    Attributes:
        selecting: To choose demonstrations, searches included.
        ordering: To put them into order.
        answering: To answer behind them.
    """

    selecting: Usage = field(default_factory=Usage)
    ordering: Usage = field(default_factory=Usage)
    answering: Usage = field(default_factory=Usage)

    @property
    def total(self) -> Usage:
        """All phases together."""
        return self.selecting + self.ordering + self.answering


@dataclass(frozen=True)
class MeteredAnswers:
    """Answers and what they cost.

    Attributes:
        predictions: One for each query.
        phases: What was asked of the language model.
        seconds: Wall time of all phases, building the pipeline included.
    """

    predictions: tuple[Prediction, ...]
    phases: PhaseUsage
    seconds: float


def answer_metered(
    build: Callable[[], Pipeline],
    queries: Sequence[Example],
    shots: int,
    *,
    lm: LanguageModel,
    advance: Callable[[int], None] | None = None,
) -> MeteredAnswers:
    """Builds a pipeline and lets it answer, counting each phase.

    Args:
        build: Gives the pipeline; what it asks of the language model counts as selecting.
        queries: N queries.
        shots: Demonstrations for each.
        lm: The language model of the pipeline.
        advance: Called with the number of queries just answered.

    Returns:
        N predictions and their cost.

    Raises:
        TooFewExamplesError: When the pool has fewer than `shots` for a query.
    """
    start, usages = time.monotonic(), [lm.usage]
    pipeline = build()
    chosen = pipeline.selector.select(queries, shots)
    usages.append(lm.usage)
    if pipeline.orderer is not None:
        chosen = pipeline.orderer.order(queries, chosen)
    usages.append(lm.usage)
    predictions = pipeline.engine.predict(queries, chosen, advance=advance)
    usages.append(lm.usage)
    phases = PhaseUsage(*(after - before for before, after in pairwise(usages)))
    return MeteredAnswers(tuple(predictions), phases, time.monotonic() - start)
