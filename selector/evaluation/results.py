"""Comparisons as files for programs: results.json, runs.csv and per_query.csv; and how numbers are written for people.

Files are written whole or not at all. Tables are laid out by `selector.evaluation.tables`.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from selector.data.paths import write_whole
from selector.evaluation.compare import Comparison, Summary
from selector.evaluation.measured import mean_metrics, measured
from selector.evaluation.metered import PHASES
from selector.evaluation.runs import Row
from selector.evaluation.statistics import Interval, PairedDifference
from selector.evaluation.verdict import Verdict
from selector.lm.base import Usage
from selector.version import __version__


def results_of(comparisons: Sequence[Comparison], *, context: Mapping[str, Any]) -> dict[str, Any]:
    """Puts comparisons into the form of results.json.

    Args:
        comparisons: One for each number of shots, ascending.
        context: What they are about: "task", "lm" and whatever else; what JSON can write.

    Returns:
        The content; "shots" is a list, and "verdict" that of the most shots, where there are several numbers of them.
    """
    numbers = [comparison.shots for comparison in comparisons]
    last = comparisons[-1]
    return {
        **context,
        "shotsmith": __version__,
        "baseline": last.baseline,
        "shots": numbers if len(numbers) > 1 else numbers[0],
        "rows": [_row(row) for comparison in comparisons for row in comparison.rows],
        "summary": [_summary(entry, comparison) for comparison in comparisons for entry in comparison.summary],
        "verdict": _verdict(last.verdict),
        "verdicts": {str(comparison.shots): _verdict(comparison.verdict) for comparison in comparisons},
    }


def _row(row: Row) -> dict[str, Any]:
    return {
        "method": row.method,
        "orderer": row.orderer,
        "shots": row.shots,
        "seed": row.seed,
        "pool": row.pool,
        "accuracy": row.accuracy,
        "metrics": measured(row),
        "n": len(row.outcomes),
        **_usage(row.usage),
        "phases": {name: _usage(getattr(row.phases, name)) for name in PHASES},
        "seconds": row.seconds,
    }


def _usage(usage: Usage) -> dict[str, int]:
    return {"lm_calls": usage.calls, "lm_tokens": usage.tokens, "lm_tokens_computed": usage.tokens_computed}


def _verdict(verdict: Verdict | None) -> dict[str, Any] | None:
    if verdict is None:
        return None
    return {
        "sentence": verdict.sentence,
        "recommended": verdict.recommended,
        "best": verdict.best,
        "not_significantly_worse": list(verdict.not_worse),
        "upper_bounds": list(verdict.upper_bounds),
        "queries": verdict.queries,
        "alpha": verdict.alpha,
    }


def _summary(entry: Summary, comparison: Comparison) -> dict[str, Any]:
    versus, rows = entry.versus, comparison.rows_of(entry.method)
    return {
        "method": entry.method,
        "shots": comparison.shots,
        "uses_lm": entry.uses_lm,
        "mean": entry.accuracy.estimate,
        "ci95": [entry.accuracy.low, entry.accuracy.high],
        "by_pool": list(entry.by_pool),
        "metrics": mean_metrics(rows),
        "lm_tokens": entry.tokens,
        "phases": {"training": {"lm_tokens": entry.training}, **mean_phases(rows)},
        "seconds": entry.seconds,
        "vs_baseline": None
        if versus is None
        else {"delta": versus.delta, "ci95": [versus.low, versus.high], "p": versus.p},
    }


def mean_phases(rows: Sequence[Row]) -> dict[str, dict[str, float]]:
    """Averages over the runs of one method what each phase asked of the language model.

    Args:
        rows: Its runs, one for each seed.

    Returns:
        Phase to "lm_calls", "lm_tokens" and "lm_tokens_computed".
    """
    return {
        phase: {
            name: float(np.mean([_usage(getattr(row.phases, phase))[name] for row in rows])) for name in _usage(Usage())
        }
        for phase in PHASES
    }


def write_results(folder: Path, comparisons: Sequence[Comparison], *, context: Mapping[str, Any]) -> Path:
    """Writes results.json, runs.csv with a line for each run, and per_query.csv with one for each answer.

    Args:
        folder: Where; made when missing.
        comparisons: One for each number of shots, ascending.
        context: See `results_of`.

    Returns:
        The path of results.json.

    Raises:
        DiskFullError: When there is no room.
    """
    content = results_of(comparisons, context=context)
    write_whole(folder / "per_query.csv", _per_query([row for comparison in comparisons for row in comparison.rows]))
    write_whole(folder / "runs.csv", _runs(content["rows"]))
    return write_whole(folder / "results.json", json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def _runs(rows: Sequence[Mapping[str, Any]]) -> str:
    """Every key of a row is a column; those of "metrics" and "phases" are columns of their own."""
    flat = [
        {
            **{key: value for key, value in row.items() if key not in ("metrics", "phases")},
            **row["metrics"],
            **{f"{phase}_{key}": value for phase, usage in row["phases"].items() for key, value in usage.items()},
        }
        for row in rows
    ]
    buffer = io.StringIO()
    columns = list(dict.fromkeys(key for row in flat for key in row))  # a reference has no calibration error
    writer = csv.DictWriter(buffer, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return buffer.getvalue()


def _per_query(rows: Sequence[Row]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    run = ("method", "orderer", "shots", "seed", "pool")
    writer.writerow((*run, "uid", "gold", "predicted", "correct", "demonstrations", "probabilities"))
    for row in rows:
        for outcome in row.outcomes:
            # JSON inside the cell: uids and labels may hold any character.
            shown = json.dumps(outcome.demonstrations, ensure_ascii=False)
            probabilities = json.dumps(dict(outcome.probabilities), ensure_ascii=False)
            cells = (*(getattr(row, name) for name in run), outcome.uid, outcome.gold, outcome.predicted)
            writer.writerow((*cells, int(outcome.correct), shown, probabilities))
    return buffer.getvalue()


def several_pools(comparison: Comparison) -> bool:
    """Tells whether methods ran over several pools, so that tables show how far those differ.

    Args:
        comparison: The comparison.

    Returns:
        Whether any did.
    """
    return any(row.pool for row in comparison.rows)


def shown_pools(accuracies: Sequence[float]) -> str:
    """Writes how far the mean accuracy differs from pool to pool.

    Args:
        accuracies: One for each pool.

    Returns:
        The lowest and the highest, percent.
    """
    return f"{100 * min(accuracies):.1f} to {100 * max(accuracies):.1f}"


def shown_verdict(comparison: Comparison) -> str:
    """Writes the verdict for people.

    Args:
        comparison: The comparison.

    Returns:
        One sentence; empty where nothing was compared.
    """
    return "" if comparison.verdict is None else f"Verdict: {comparison.verdict.sentence}."


def shown_accuracy(accuracy: Interval) -> str:
    """Writes an accuracy for people.

    Args:
        accuracy: The accuracy.

    Returns:
        Percent with their interval.
    """
    return f"{100 * accuracy.estimate:.1f} [{100 * accuracy.low:.1f}, {100 * accuracy.high:.1f}]"


def shown_difference(versus: PairedDifference) -> str:
    """Writes a difference for people.

    Args:
        versus: The difference.

    Returns:
        Points of accuracy with their interval.
    """
    return f"{100 * versus.delta:+.1f} [{100 * versus.low:+.1f}, {100 * versus.high:+.1f}]"


def shown_p(versus: PairedDifference) -> str:
    """Writes a p-value for people.

    Args:
        versus: The difference.

    Returns:
        Three decimals; never 0, which no number of resamples can show.
    """
    return "<0.001" if versus.p < 0.001 else f"{versus.p:.3f}"
