"""A comparison as files and as a table: results.json, per_query.csv, and what a terminal shows.

Files are written whole or not at all.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selector.data.paths import full_disk_named
from selector.evaluation.compare import Comparison, Summary
from selector.evaluation.statistics import PairedDifference
from selector.evaluation.verdict import Verdict
from selector.version import __version__

if TYPE_CHECKING:
    from rich.table import Table


def results_of(comparison: Comparison, *, context: Mapping[str, Any]) -> dict[str, Any]:
    """Puts a comparison into the form of results.json.

    Args:
        comparison: The comparison.
        context: What it is about: "task", "lm" and whatever else; what JSON can write.

    Returns:
        The content.
    """
    return {
        **context,
        "shotsmith": __version__,
        "baseline": comparison.baseline,
        "shots": comparison.shots,
        "rows": [
            {
                "method": row.method,
                "orderer": row.orderer,
                "shots": row.shots,
                "seed": row.seed,
                "accuracy": row.accuracy,
                "n": len(row.outcomes),
                "lm_calls": row.usage.calls,
                "lm_tokens": row.usage.tokens,
                "lm_tokens_computed": row.usage.tokens_computed,
                "seconds": row.seconds,
            }
            for row in comparison.rows
        ],
        "summary": [_summary(entry) for entry in comparison.summary],
        "verdict": _verdict(comparison.verdict),
    }


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


def _summary(entry: Summary) -> dict[str, Any]:
    versus = entry.versus
    return {
        "method": entry.method,
        "uses_lm": entry.uses_lm,
        "mean": entry.accuracy.estimate,
        "ci95": [entry.accuracy.low, entry.accuracy.high],
        "lm_tokens": entry.tokens,
        "seconds": entry.seconds,
        "vs_baseline": None
        if versus is None
        else {"delta": versus.delta, "ci95": [versus.low, versus.high], "p": versus.p},
    }


def write_results(folder: Path, comparison: Comparison, *, context: Mapping[str, Any]) -> Path:
    """Writes results.json and per_query.csv.

    Args:
        folder: Where; made when missing.
        comparison: The comparison.
        context: See `results_of`.

    Returns:
        The path of results.json.

    Raises:
        DiskFullError: When there is no room.
    """
    content = json.dumps(results_of(comparison, context=context), indent=2, ensure_ascii=False) + "\n"
    write_whole(folder / "per_query.csv", _per_query(comparison))
    return write_whole(folder / "results.json", content)


def write_whole(path: Path, text: str) -> Path:
    """Writes a text file whole or not at all.

    Args:
        path: The file; its folder is made when missing.
        text: Its content.

    Returns:
        The path.

    Raises:
        DiskFullError: When there is no room; what stood there before stays.
    """
    scratch = path.with_name(f".{path.name}.new")
    with full_disk_named(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            scratch.write_text(text, encoding="utf-8")
            scratch.replace(path)
        except OSError:
            scratch.unlink(missing_ok=True)
            raise
    return path


def _per_query(comparison: Comparison) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(
        ["method", "orderer", "shots", "seed", "uid", "gold", "predicted", "correct", "demonstrations", "probabilities"]
    )
    for row in comparison.rows:
        for outcome in row.outcomes:
            # JSON inside the cell: uids and labels may hold any character.
            shown = json.dumps(outcome.demonstrations, ensure_ascii=False)
            probabilities = json.dumps(dict(outcome.probabilities), ensure_ascii=False)
            cells = (row.method, row.orderer, row.shots, row.seed, outcome.uid, outcome.gold, outcome.predicted)
            writer.writerow((*cells, int(outcome.correct), shown, probabilities))
    return buffer.getvalue()


def shown_verdict(comparison: Comparison) -> str:
    """Writes the verdict for people.

    Args:
        comparison: The comparison.

    Returns:
        One sentence; empty where nothing was compared.
    """
    return "" if comparison.verdict is None else f"Verdict: {comparison.verdict.sentence}."


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


def result_table(comparison: Comparison) -> Table:
    """Lays a comparison out for a terminal.

    Args:
        comparison: The comparison.

    Returns:
        A rich table, best method first; LM-free references are dimmed.
    """
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    count = len(comparison.rows[0].outcomes)
    title = f"{comparison.shots} shots, {count} test queries, 95 % intervals"
    table = Table(title=title, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("method", no_wrap=True)
    # Five columns fit 80 characters; seconds stand in results.json and in the report.
    for heading in ("accuracy", f"vs {escape(comparison.baseline)}", "p", "LM tokens"):
        table.add_column(heading, justify="right", no_wrap=True)
    for entry in comparison.summary:
        own, versus = entry.accuracy, entry.versus
        table.add_row(
            escape(entry.method if entry.uses_lm else f"{entry.method} (no LM)"),
            f"{100 * own.estimate:.1f} [{100 * own.low:.1f}, {100 * own.high:.1f}]",
            "baseline" if versus is None else shown_difference(versus),
            "" if versus is None else shown_p(versus),
            f"{entry.tokens:,.0f}" if entry.uses_lm else "0",
            style=None if entry.uses_lm else "dim",
        )
    return table
