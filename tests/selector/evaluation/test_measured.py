"""Tests of measured."""

from __future__ import annotations

import sys

import pytest

from selector.errors import ExtraMissingError, UnknownNameError
from selector.evaluation.compare import Comparison
from selector.evaluation.measured import check_metrics, mean_metrics, measured
from selector.evaluation.metered import PhaseUsage
from selector.evaluation.runs import QueryOutcome, Row


def row_of(*outcomes: QueryOutcome) -> Row:
    return Row("m", "given", 2, 0, outcomes, PhaseUsage(), 0.0)


def labelled(gold: str, predicted: str, sure: float | None = None) -> QueryOutcome:
    probabilities = {} if sure is None else {predicted: sure, ("b" if predicted == "a" else "a"): 1 - sure}
    return QueryOutcome(f"{gold}{predicted}{sure}", gold, predicted, probabilities=probabilities)


def test_labels_are_measured_by_hand_computed_values() -> None:
    """Guards gold and predicted against being swapped, and probabilities against another label's column."""
    row = row_of(labelled("a", "a", 1.0), labelled("a", "a", 1.0), labelled("a", "b", 1.0), labelled("b", "b", 1.0))
    values = measured(row)
    assert values["balanced-accuracy"] == pytest.approx((2 / 3 + 1) / 2)
    assert values["macro-f1"] == pytest.approx((4 / 5 + 2 / 3) / 2)
    assert values["ece"] == pytest.approx(0.25)
    assert set(values) == {"macro-f1", "balanced-accuracy", "ece"}


def test_references_have_no_calibration(comparison: Comparison) -> None:
    """Guards against a calibration error made up for answers without probabilities."""
    values = measured(row_of(labelled("a", "a"), labelled("b", "a")))
    assert values == {"macro-f1": pytest.approx(1 / 3), "balanced-accuracy": 0.5}
    for row in comparison.rows:
        assert ("ece" in measured(row)) == (row.method != "[bold]<b>gold")


def test_free_texts_are_measured_as_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards against label metrics on texts, and against a missing library that stops a comparison at its end."""
    row = row_of(
        QueryOutcome("1", "The cat sat", "the cat sat ", free_text=True),
        QueryOutcome("2", "one two", "one three", free_text=True),
    )
    values = measured(row)
    assert values["exact-match"] == row.accuracy == 0.5
    assert values["token-f1"] == pytest.approx(0.75)
    assert "macro-f1" not in values
    monkeypatch.setitem(sys.modules, "sacrebleu.metrics", None)
    assert measured(row).keys() == values.keys() - {"bleu"}
    with pytest.raises(ExtraMissingError):
        check_metrics(["token-f1", "bleu"], free_text=True)


def test_seeds_are_averaged() -> None:
    """Guards against the metrics of the first seed alone."""
    rows = [row_of(labelled("a", "a"), labelled("b", "b")), row_of(labelled("a", "b"), labelled("b", "a"))]
    assert mean_metrics(rows) == {"macro-f1": 0.5, "balanced-accuracy": 0.5}


def test_metrics_are_checked_before_any_work() -> None:
    """Guards against a typo, or a metric of another kind of task, that shows behind an hour of work."""
    check_metrics(["macro-f1", "ece", "accuracy"], free_text=False)
    for name, free_text in (("macro-f1", True), ("rouge-l", False), ("f1", False)):
        with pytest.raises(UnknownNameError, match=name):
            check_metrics([name], free_text=free_text)
