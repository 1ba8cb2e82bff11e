"""Tests of tables."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from selector.evaluation.compare import Comparison, Summary
from selector.evaluation.statistics import Interval, PairedDifference
from selector.evaluation.tables import cost_table, markdown_tables, metric_table, result_table, sweep_table
from selector.lm.base import Usage


def printed(table: Any, *, width: int = 160) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(table)
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


def at_shots(comparison: Comparison, shots: int, *, p: float, delta: float) -> Comparison:
    """The comparison with another difference of "random" at another number of shots."""

    def changed(entry: Summary) -> Summary:
        if entry.method != "random":
            return entry
        accuracy = Interval(shots / 100, 0.0, 1.0)
        return replace(entry, accuracy=accuracy, versus=PairedDifference(delta, -1.0, 1.0, p))

    return replace(comparison, shots=shots, summary=tuple(map(changed, comparison.summary)))


def test_names_are_shown_as_they_are(comparison: Comparison) -> None:
    """Guards against a method's name being read as rich markup, and references that are not marked as such."""
    text = printed(result_table(comparison))
    assert "[bold]<b>gold (no LM)" in text
    assert text.index("gold") < text.index("random") or "100.0" in text
    assert text.count("baseline") == 1


def test_metrics_get_columns_where_asked_for(comparison: Comparison) -> None:
    """Guards a metric's value against another method's row, and a value where none can be computed."""
    text = printed(result_table(comparison, metrics=("macro-f1", "ece")))
    lines = {line.split()[0]: line.split() for line in text.splitlines() if line.strip()}
    assert lines["method"][-4:] == ["macro-f1", "ece", "LM", "tokens"]
    gold = lines["[bold]<b>gold"]
    assert gold[-3:] == ["100.0", "-", "0"]
    assert "macro-f1" not in printed(result_table(comparison))
    apart = printed(metric_table(comparison, ("macro-f1", "ece")), width=60)
    assert "macro-f1" in apart
    [line] = [line for line in apart.splitlines() if "gold" in line]
    assert line.split()[-2:] == gold[-3:-1]


def test_a_sweep_marks_what_is_significant_at_each_number(comparison: Comparison) -> None:
    """Guards signs against another number of shots, and a sign for a difference that chance explains."""
    settings = ((1, 0.01, 0.2), (2, 0.2, 0.2), (4, 0.01, -0.2))
    text = printed(sweep_table([at_shots(comparison, shots, p=p, delta=delta) for shots, p, delta in settings]))
    [line] = [line for line in text.splitlines() if line.strip().startswith("random")]
    assert line.split() == ["random", "1.0+", "2.0", "4.0-"]


def test_costs_are_shown_where_there_are_any_but_answers(comparison: Comparison) -> None:
    """Guards against an empty table for plain methods, and a training cost that nobody counted shown as none."""
    assert cost_table(comparison) is None
    trained = tuple(replace(entry, training=None) for entry in comparison.summary)
    assert printed(cost_table(replace(comparison, summary=trained))).count("unknown") == 2
    searched = replace(comparison.rows[0].phases, selecting=Usage(1, 4321, 1))
    rows = tuple(
        replace(row, phases=searched) if row.method == comparison.rows[0].method else row for row in comparison.rows
    )
    text = printed(cost_table(replace(comparison, rows=rows)))
    assert "4,321" in text
    assert "gold" not in text


@pytest.mark.parametrize("metrics", [(), ("macro-f1",)])
def test_markdown_keeps_its_columns_whatever_the_names(comparison: Comparison, metrics: tuple[str, ...]) -> None:
    """Guards papers and READMEs against names that become cells, emphasis, links or HTML."""
    named = tuple(
        replace(entry, method="a|b*c_[d](e)\n<img>" if entry.method == "random" else entry.method)
        for entry in comparison.summary
    )
    rows = tuple(
        replace(row, method="a|b*c_[d](e)\n<img>" if row.method == "random" else row.method) for row in comparison.rows
    )
    text = markdown_tables(
        [replace(comparison, shots=1), replace(comparison, summary=named, rows=rows)],
        context={"task": "<i>task</i>", "lm": "lm"},
        metrics=metrics,
    )
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert len(tables) == 2 * (2 + len(comparison.summary))
    assert {line.replace("\\|", "").count("|") for line in tables} == {6 + len(metrics)}
    assert "a\\|b\\*c\\_[d]\\(e) &lt;img&gt;" in text
    assert "<" not in text
    assert [line for line in text.splitlines() if line.startswith("###")] == [
        f"### &lt;i&gt;task&lt;/i&gt;, lm, {shots} shots, 30 test queries" for shots in (1, 2)
    ]
