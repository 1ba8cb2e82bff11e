"""One run of a method or a reference over the queries, and how a finished one is recalled.

This module knows pipelines, not how they were built; it neither compares runs nor knows where they are kept.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from selector.evaluation.metered import PhaseUsage, answer_metered
from selector.inference.engine import InferenceEngine
from selector.inference.free_text import exact_match
from selector.lm.base import Usage
from selector.pipeline import Pipeline
from selector.types import Example, Prediction


@dataclass(frozen=True)
class Method:
    """A method that answers with demonstrations.

    Attributes:
        name: As it stands in tables.
        build: Seed to pipeline.
        seeded: Whether the seed changes what it chooses; else it runs once.
        orderer: The name of its orderer.
        upper_bound: Whether it knows what no method can know, as the oracle does; no verdict recommends it.
        depends_on_shots: Whether the number of shots changes its answers; else it runs once for all numbers of them.
        training: Tokens asked of the language model to make it, once; None where nobody knows.
        identity: What its answers depend on beside its name, orderer, seed and shots; what JSON can write.
    """

    name: str
    build: Callable[[int], Pipeline]
    seeded: bool = False
    orderer: str = "given"
    upper_bound: bool = False
    depends_on_shots: bool = True
    training: float | None = 0.0
    identity: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Reference:
    """A reference that answers without a language model.

    Attributes:
        name: As it stands in tables.
        answer: Queries to labels.
        depends_on_shots: Whether the number of shots changes its answers; else it runs once for all numbers of them.
        identity: What its answers depend on beside its name and shots; what JSON can write.
    """

    name: str
    answer: Callable[[Sequence[Example]], list[str]]
    depends_on_shots: bool = True
    identity: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class QueryOutcome:
    """What a method answered to a query.

    Attributes:
        uid: Of the query.
        gold: Its label; where another text is as right and was answered, that text.
        predicted: The answer.
        demonstrations: Uids in prompt order, as really shown.
        probabilities: Of every label; empty for references and where targets are free text.
        free_text: Whether answers are free texts, which case and white space do not make wrong.
    """

    uid: str
    gold: str
    predicted: str
    demonstrations: tuple[str, ...] = ()
    probabilities: Mapping[str, float] = field(default_factory=dict)
    free_text: bool = False

    @property
    def correct(self) -> bool:
        """Whether the answer is the gold one."""
        return exact_match(self.predicted, self.gold) if self.free_text else self.predicted == self.gold


def same_labels(outcomes: Sequence[QueryOutcome]) -> bool:
    """Tells whether a label means the same for every query.

    Args:
        outcomes: The outcomes.

    Returns:
        False where probabilities are over other labels for one query than for another: choices of its own.
    """
    return len({frozenset(outcome.probabilities) for outcome in outcomes if outcome.probabilities}) <= 1


@dataclass(frozen=True)
class Row:
    """One run of one method.

    Attributes:
        method: Its name.
        orderer: Its orderer's name.
        shots: Demonstrations in each prompt.
        seed: The seed.
        outcomes: One for each query.
        phases: What selecting, ordering and answering asked of the language model.
        seconds: Wall time of the process that ran it.
        pool: The number of the pool that it chose from, where there are several.
    """

    method: str
    orderer: str
    shots: int
    seed: int
    outcomes: tuple[QueryOutcome, ...]
    phases: PhaseUsage
    seconds: float
    pool: int = 0

    @property
    def usage(self) -> Usage:
        """What all phases together asked of the language model."""
        return self.phases.total

    @property
    def accuracy(self) -> float:
        """The share of right answers."""
        return float(np.mean([outcome.correct for outcome in self.outcomes]))


class Cells(Protocol):
    """Keeps finished runs."""

    def recall(self, run: Mapping[str, Any]) -> Row | None:
        """Gives a finished run.

        Args:
            run: What it depends on.

        Returns:
            The run; None where it has not been finished yet.
        """
        ...

    def keep(self, run: Mapping[str, Any], row: Row) -> None:
        """Keeps a finished run.

        Args:
            run: What it depends on.
            row: The run.
        """
        ...


def run_once(
    engine: InferenceEngine,
    queries: Sequence[Example],
    method: Method,
    *,
    shots: int,
    seed: int,
    cells: Cells | None = None,
    advance: Callable[[int], None] = lambda steps: None,
) -> Row:
    """Lets a method answer with one seed, or recalls what it answered.

    Args:
        engine: The engine of the method.
        queries: Labelled queries.
        method: The method.
        shots: Demonstrations in each prompt.
        seed: The seed.
        cells: Where the run is recalled from, or kept when it is finished.
        advance: Called with the number of queries just answered.

    Returns:
        The run.
    """
    run = {
        "method": method.name,
        "orderer": method.orderer,
        "shots": shots if method.depends_on_shots else None,
        "seed": seed if method.seeded else None,
        **method.identity,
    }
    row = None if cells is None else cells.recall(run)
    if row is not None:
        advance(len(queries))
        return replace(row, shots=shots, seed=seed)
    answers = answer_metered(lambda: method.build(seed), queries, shots, lm=engine.lm, advance=advance)
    outcomes = tuple(_outcome(engine, query, own) for query, own in zip(queries, answers.predictions, strict=True))
    row = Row(method.name, method.orderer, shots, seed, outcomes, answers.phases, answers.seconds)
    if cells is not None:
        cells.keep(run, row)
    return row


def _outcome(engine: InferenceEngine, query: Example, prediction: Prediction) -> QueryOutcome:
    shown = tuple(engine.pool[index].uid for index in prediction.selection.indices)
    return QueryOutcome(
        query.uid,
        engine.matched_gold(query, prediction.label),
        prediction.label,
        shown,
        prediction.probabilities,
        free_text=engine.template.free_text,
    )


def refer_once(
    engine: InferenceEngine,
    queries: Sequence[Example],
    reference: Reference,
    *,
    shots: int,
    cells: Cells | None = None,
) -> Row:
    """Lets a reference answer, or recalls what it answered.

    Args:
        engine: Knows which answers are right; its language model is not asked.
        queries: Labelled queries.
        reference: The reference.
        shots: The number of shots it stands beside.
        cells: Where the run is recalled from, or kept when it is finished.

    Returns:
        The run.
    """
    run = {
        "method": reference.name,
        "orderer": "none",
        "shots": shots if reference.depends_on_shots else None,
        "seed": None,
        **reference.identity,
    }
    row = None if cells is None else cells.recall(run)
    if row is not None:
        return replace(row, shots=shots)
    start = time.monotonic()
    answers = reference.answer(queries)
    outcomes = tuple(
        QueryOutcome(query.uid, engine.matched_gold(query, answer), answer, free_text=engine.template.free_text)
        for query, answer in zip(queries, answers, strict=True)
    )
    row = Row(reference.name, "none", shots, 0, outcomes, PhaseUsage(), time.monotonic() - start)
    if cells is not None:
        cells.keep(run, row)
    return row
