"""Parts of the HTML report that need no script: verdict, result table, sets of the stability report, facts.

All text from data is escaped here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from selector.evaluation.compare import Comparison, Summary
from selector.evaluation.results import mean_phases, shown_difference, shown_p
from selector.evaluation.stability import StabilityReport
from selector.evaluation.tables import metric_cells, pool_cells


def verdict_card(comparison: Comparison) -> str:
    """Says which method to use, why, and what can be expected of it.

    Args:
        comparison: The comparison.

    Returns:
        HTML; the best method's numbers where there is no verdict.
    """
    verdict = comparison.verdict
    name = comparison.summary[0].method if verdict is None else verdict.recommended
    entry = next(own for own in comparison.summary if own.method == name)
    count = len(comparison.rows[0].outcomes)
    own = entry.accuracy
    figures = [
        ("Accuracy", f"{100 * own.estimate:.1f} %", f"95 % interval {100 * own.low:.1f} to {100 * own.high:.1f}")
    ]
    if entry.versus is not None:
        bounds = f"{100 * entry.versus.low:+.1f} to {100 * entry.versus.high:+.1f}"
        shown = f"{100 * entry.versus.delta:+.1f} points"
        figures.append((f"Against {comparison.baseline}", shown, f"{bounds}, p {_equals(shown_p(entry.versus))}"))
    figures.append(("LM tokens per query", f"{entry.tokens / count:,.0f}", f"{count:,} test queries"))
    if verdict is not None:
        contenders = len(verdict.standings)
        figures.append(
            (
                "Not clearly worse than the best",
                f"{len(verdict.not_worse)} of {contenders}",
                "methods, by these queries",
            )
        )
    cells = "".join(
        f"<div><dt>{escape(title)}</dt><dd><b>{escape(value)}</b><small>{escape(note)}</small></dd></div>"
        for title, value, note in figures
    )
    opening = "Best" if verdict is None else "Use"
    sentence = "" if verdict is None else f"<p>{escape(verdict.sentence)}.</p>"
    return f'<h2>{opening} <em>{escape(name)}</em></h2>{sentence}<dl class="figures">{cells}</dl>'


def verdicts_by_shots(comparisons: Sequence[Comparison]) -> str:
    """Names the method to use for each number of shots, for those who do not turn to each.

    Args:
        comparisons: Ascending in shots.

    Returns:
        HTML; empty where there is one number of shots, or no verdict.
    """
    verdicts = [(own.shots, own.verdict) for own in comparisons]
    named = [(shots, verdict.recommended) for shots, verdict in verdicts if verdict is not None]
    if len(named) < 2:
        return ""
    if len({method for _, method in named}) == 1:
        told = f"{named[0][1]} is the method to use at every number of shots"
    else:
        told = "The method to use at " + "; at ".join(f"{shots} shots: {method}" for shots, method in named)
    return f'<p class="note">{escape(told)}.</p>'


def result_rows(comparison: Comparison, *, metrics: Sequence[str] = ()) -> str:
    """Writes the rows of the result table.

    Args:
        comparison: The comparison.
        metrics: Further metrics that get a column, by name.

    Returns:
        HTML, one row for each method, best first.
    """
    return "".join(_row(comparison, entry, metrics) for entry in comparison.summary)


def _row(comparison: Comparison, entry: Summary, metrics: Sequence[str]) -> str:
    versus, standing = entry.versus, _standing(comparison, entry.method)
    difference, p = ("baseline", "") if versus is None else (shown_difference(versus), shown_p(versus))
    cells = (
        f"{100 * entry.accuracy.estimate:.1f}",
        f"{100 * entry.accuracy.low:.1f} to {100 * entry.accuracy.high:.1f}",
        standing,
        difference,
        p,
        *pool_cells(entry, comparison),
        *metric_cells(entry, comparison, metrics),
        *_tokens(comparison, entry),
        f"{entry.seconds:.1f}",
    )
    name = escape(entry.method)
    return (
        f'<tr class="{"lm" if entry.uses_lm else "free"}{" use" if standing == "use" else ""}">'
        f'<th scope="row" title="{name}">{name}</th>' + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"
    )


def _tokens(comparison: Comparison, entry: Summary) -> tuple[str, str, str]:
    """What training, choosing with ordering, and answering asked of the language model."""
    if not entry.uses_lm:
        return "none", "none", "none"
    phases = {name: own["lm_tokens"] for name, own in mean_phases(comparison.rows_of(entry.method)).items()}
    trained = "unknown" if entry.training is None else f"{entry.training:,.0f}"
    return trained, f"{phases['selecting'] + phases['ordering']:,.0f}", f"{phases['answering']:,.0f}"


def _standing(comparison: Comparison, method: str) -> str:
    verdict = comparison.verdict
    if verdict is None:
        return ""
    if method in verdict.upper_bounds:
        return "upper bound"
    if method == verdict.recommended:
        return "use"
    return "not clearly worse" if method in verdict.not_worse else "worse"


def set_rows(report: StabilityReport) -> str:
    """Writes the rows of the table of sets.

    Args:
        report: The stability report.

    Returns:
        HTML, one row for each set.
    """
    rows = []
    for number, own in enumerate(report.sets, 1):
        best = own.orders[own.accuracies.index(own.highest)]
        shares = (own.lowest, own.mean, own.highest, own.standard_deviation, own.noise)
        cells = [str(len(own.orders)), *(f"{100 * share:.1f}" for share in shares), ", ".join(map(str, best))]
        rows.append(f'<tr><th scope="row">set {number}</th>' + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    return "".join(rows)


def facts(comparisons: Sequence[Comparison], queries: int, context: Mapping[str, Any]) -> str:
    """Lists what was compared and how.

    Args:
        comparisons: The comparisons.
        queries: How many test queries.
        context: "task", "lm", "scoring", "calibration", "seeds", "pools", "leaks", "hidden" and "command", as far as
            they are known.

    Returns:
        HTML: terms and their descriptions.
    """
    rows = {
        "task": context.get("task"),
        "language model": context.get("lm"),
        "scoring": context.get("scoring"),
        "calibration": context.get("calibration"),
        "shots": ", ".join(str(own.shots) for own in comparisons),
        "test queries": f"{queries:,}",
        "baseline": comparisons[-1].baseline,
        "seeds": ", ".join(map(str, context.get("seeds", ()))),
        "pools": _pools(len(context.get("pools", ())), context.get("pool_overlap", 0.0)),
        "rows left out": _left_out(context.get("leaks", {})),
        "duplicates hidden": _hidden(context.get("hidden", {})),
    }
    listed = "".join(f"<dt>{name}</dt><dd>{escape(str(value))}</dd>" for name, value in rows.items() if value)
    command = context.get("command")
    return listed + (f"<dt>command</dt><dd><code>{escape(str(command))}</code></dd>" if command else "")


def _left_out(leaks: Mapping[str, int]) -> str:
    """How many rows were kept out of the splits, and how many for a text that is nearly, not exactly, the same."""
    near = leaks.get("near_duplicates", 0)
    repeats = sum(leaks.values()) - near
    if not repeats and not near:
        return ""
    nearly = f"; {near} for nearly the same text" if near else ""
    return f"{repeats} that repeat another split or an earlier row{nearly}"


def _pools(count: int, overlap: float) -> str:
    shared = f"; two of them share {100 * overlap:.0f} % of their rows on average"
    return f"{count}: the task's own and others of its size{shared}" if count > 1 else ""


def _hidden(counts: Mapping[str, int | None]) -> str:
    """How often a member of a pool was kept from a query that it repeats."""
    return "; ".join(f"{'unknown' if count is None else f'{count:,}'} {where}" for where, count in counts.items())


def _equals(p: str) -> str:
    return p if p.startswith("<") else f"= {p}"
