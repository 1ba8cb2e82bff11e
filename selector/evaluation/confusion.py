"""Which label was taken for which: counts over the queries, and the labels in the order of the task. Pure counting."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from selector.evaluation.compare import QueryOutcome, Row
from selector.evaluation.runs import same_labels


def label_names(rows: Sequence[Row]) -> tuple[str, ...]:
    """Finds the labels of a task in what was answered.

    Args:
        rows: All runs.

    Returns:
        The labels that the language model could answer, in the order of the task, then any other gold label or answer
        by name; empty where answers are free text or choices of each query's own.
    """
    outcomes = [outcome for row in rows for outcome in row.outcomes]
    if any(outcome.free_text for outcome in outcomes) or not same_labels(outcomes):
        return ()
    scored: Sequence[str] = next((list(outcome.probabilities) for outcome in outcomes if outcome.probabilities), [])
    others = sorted({label for outcome in outcomes for label in (outcome.gold, outcome.predicted)} - set(scored))
    return (*scored, *others)


def confusion_counts(outcomes: Sequence[QueryOutcome]) -> Counter[tuple[str, str]]:
    """Counts pairs of gold label and answer.

    Args:
        outcomes: Of one method, over all its seeds.

    Returns:
        (gold, predicted) to how often; pairs that never came up are not in it.
    """
    return Counter((outcome.gold, outcome.predicted) for outcome in outcomes)
