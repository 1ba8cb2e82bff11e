"""Tests of confusion: counts of pairs, and which labels there are."""

from dataclasses import replace

from selector.evaluation.compare import QueryOutcome
from selector.evaluation.confusion import confusion_counts, label_names


def test_pairs_are_gold_first() -> None:
    """Guards against a transposed matrix."""
    outcomes = [QueryOutcome("1", "cat", "dog"), QueryOutcome("2", "cat", "dog"), QueryOutcome("3", "dog", "dog")]
    assert confusion_counts(outcomes) == {("cat", "dog"): 2, ("dog", "dog"): 1}


def test_labels_keep_the_order_of_the_task(comparison) -> None:
    """Guards against labels that are left out because nobody answered them, and grades sorted as words."""
    row = comparison.rows[0]
    outcomes = [
        QueryOutcome("1", "good", "good", probabilities={"poor": 0.1, "good": 0.7, "best": 0.2}),
        QueryOutcome("2", "alien", "good"),
    ]
    rows = [replace(row, outcomes=tuple(outcomes))]
    assert label_names(rows) == ("poor", "good", "best", "alien")


def test_free_texts_are_no_labels(comparison) -> None:
    """Guards against a matrix with a row for each answer that was ever written."""
    row = comparison.rows[0]
    assert label_names([replace(row, outcomes=(QueryOutcome("1", "a b", "a c", free_text=True),))]) == ()
