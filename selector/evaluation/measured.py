"""The metrics of one run of a comparison, beside its accuracy.

From outcomes to what `selector.evaluation.metrics` takes; it knows no formula itself.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from selector.errors import ExtraMissingError
from selector.evaluation.metrics import METRICS, Answers, TaskKind, metric_named
from selector.evaluation.runs import QueryOutcome, Row, same_labels

ACCURACY = "accuracy"  # stands apart in every table
LEAST = 1e-300  # of a probability, so that its logarithm is a number


def kind_of(*, free_text: bool) -> TaskKind:
    """Names the kind of task that metrics are chosen by.

    Args:
        free_text: Whether answers are free texts.

    Returns:
        The kind.
    """
    return "generation" if free_text else "classification"


def check_metrics(names: Sequence[str], *, free_text: bool) -> None:
    """Makes sure, before any work, that metrics fit the task and that their libraries are there.

    Args:
        names: Names of metrics.
        free_text: Whether answers are free texts.

    Raises:
        UnknownNameError: When a metric is not known or not for such tasks.
        ExtraMissingError: When its library is not installed.
    """
    kind = kind_of(free_text=free_text)
    trial = Answers(["a"], ["a"], labels=() if free_text else ["a"], logprobs=None if free_text else np.zeros((1, 1)))
    for name in names:
        metric_named(name, kind=kind).compute(trial)


def measured(row: Row) -> dict[str, float]:
    """Measures a run by every metric for its kind of task that can be computed.

    Left out are accuracy, which a row has anyway, what needs probabilities where there are none, what needs a library
    that is not installed, and everything where queries have choices of their own.

    Args:
        row: The run.

    Returns:
        Metric name to value, from 0 to 1.
    """
    if not same_labels(row.outcomes):
        return {}
    answers, kind = _answers(row.outcomes), kind_of(free_text=row.outcomes[0].free_text)
    values = {}
    for name, metric in METRICS.items():
        if metric.kind != kind or name == ACCURACY or (metric.needs_logprobs and answers.logprobs is None):
            continue
        try:
            values[name] = metric.compute(answers).value
        except ExtraMissingError:
            continue
    return values


def mean_metrics(rows: Sequence[Row]) -> dict[str, float]:
    """Averages the metrics of the runs of one method.

    Args:
        rows: Its runs, one for each seed.

    Returns:
        Metric name to mean value.
    """
    each = [measured(row) for row in rows]
    return {name: float(np.mean([own[name] for own in each])) for name in each[0]}


def _answers(outcomes: Sequence[QueryOutcome]) -> Answers:
    gold, predicted = [own.gold for own in outcomes], [own.predicted for own in outcomes]
    labels = list(outcomes[0].probabilities)
    if not labels:
        return Answers(gold, predicted)
    probabilities = np.array([[own.probabilities[label] for label in labels] for own in outcomes])  # (N, L)
    return Answers(gold, predicted, labels=labels, logprobs=np.log(np.maximum(probabilities, LEAST)))
