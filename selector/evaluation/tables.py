"""Comparisons as tables: for a terminal, and in Markdown for papers and READMEs.

This module lays out what was measured; it computes nothing but means over seeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape as escape_html
from typing import TYPE_CHECKING, Any

from selector.evaluation.compare import Comparison, Summary
from selector.evaluation.measured import mean_metrics
from selector.evaluation.results import (
    mean_phases,
    several_pools,
    shown_accuracy,
    shown_difference,
    shown_p,
    shown_pools,
    shown_verdict,
)
from selector.evaluation.verdict import ALPHA

if TYPE_CHECKING:
    from rich.table import Table

ABSENT = "-"


def result_table(comparison: Comparison, *, metrics: Sequence[str] = (), pools: bool = True) -> Table:
    """Lays a comparison out for a terminal.

    Args:
        comparison: The comparison.
        metrics: Further metrics that get a column, by name.
        pools: Whether the spread over several pools gets one.

    Returns:
        A rich table, best method first; LM-free references are dimmed.
    """
    count = len(comparison.rows[0].outcomes)
    table = _table(f"{comparison.shots} shots, {count} test queries, 95 % intervals")
    # Five columns fit 80 characters; seconds stand in results.json and in the report.
    spread = _pools(comparison) if pools else []
    for heading in ("accuracy", f"vs {comparison.baseline}", "p", *spread, *metrics, "LM tokens"):
        _add_number(table, heading)
    for entry in comparison.summary:
        _add_method(table, entry, _cells(entry, comparison, metrics, pools=pools))
    return table


def metric_table(comparison: Comparison, metrics: Sequence[str]) -> Table:
    """Lays metrics and the spread over pools out, for terminals on which they do not fit beside the other columns.

    Args:
        comparison: The comparison.
        metrics: Names of metrics.

    Returns:
        A rich table, method of the best accuracy first.
    """
    table = _table(f"x 100, {comparison.shots} shots")
    for name in (*_pools(comparison), *metrics):
        _add_number(table, name)
    for entry in comparison.summary:
        _add_method(table, entry, [*pool_cells(entry, comparison), *metric_cells(entry, comparison, metrics)])
    return table


def sweep_table(comparisons: Sequence[Comparison]) -> Table:
    """Lays accuracies by the number of shots out for a terminal.

    Args:
        comparisons: One for each number of shots, ascending, with the same methods.

    Returns:
        A rich table, the best method at the most shots first; a sign behind an accuracy says that its difference from
        the baseline is significant.
    """
    last = comparisons[-1]
    title = f"accuracy by shots; + better, - worse than {last.baseline} at its number of shots (Holm's p <= {ALPHA})"
    table = _table(title)
    for comparison in comparisons:
        _add_number(table, str(comparison.shots))
    by_shots = [{entry.method: entry for entry in comparison.summary} for comparison in comparisons]
    for entry in last.summary:
        _add_method(table, entry, [_marked(own[entry.method]) for own in by_shots])
    return table


def cost_table(comparison: Comparison) -> Table | None:
    """Lays the language-model tokens of each phase out for a terminal.

    Args:
        comparison: The comparison.

    Returns:
        A rich table of the methods that ask the language model, best first: tokens of one run, mean over seeds, and of
        training, which is done once; None where nothing was asked but answers.
    """
    if not any(entry.training != 0 for entry in comparison.summary) and not any(
        row.usage.tokens != row.phases.answering.tokens for row in comparison.rows
    ):
        return None
    table = _table(f"language-model tokens asked, {comparison.shots} shots")
    for heading in ("training", "selecting", "ordering", "answering"):
        _add_number(table, heading)
    for entry in comparison.summary:
        if entry.uses_lm:
            phases = mean_phases(comparison.rows_of(entry.method))
            _add_method(table, entry, [_trained(entry), *(f"{own['lm_tokens']:,.0f}" for own in phases.values())])
    return table


def markdown_tables(
    comparisons: Sequence[Comparison], *, context: Mapping[str, Any], metrics: Sequence[str] = ()
) -> str:
    """Lays comparisons out in Markdown.

    Args:
        comparisons: One for each number of shots, ascending.
        context: What they are about; "task" and "lm" are shown.
        metrics: Further metrics that get a column, by name.

    Returns:
        A table with its verdict for each number of shots.
    """
    parts = []
    for comparison in comparisons:
        count = len(comparison.rows[0].outcomes)
        about = f"{context.get('task', '')}, {context.get('lm', '')}, {comparison.shots} shots, {count} test queries"
        differences = f"vs {comparison.baseline}, points"
        headings = ["method", "accuracy, %", differences, "p", *_pools(comparison), *metrics, "LM tokens"]
        trained = any(entry.training != 0 for entry in comparison.summary)
        headings += ["training tokens"] if trained else []
        lines = [_line(headings), "|---|" + "---:|" * (len(headings) - 1)]
        lines += [
            _line([_named(entry), *_cells(entry, comparison, metrics), *([_trained(entry)] if trained else [])])
            for entry in comparison.summary
        ]
        parts += [f"### {_markdown(about)}", "\n".join(lines), _markdown(shown_verdict(comparison))]
    parts.append(
        "Brackets: 95 % intervals over queries (bootstrap; Wilson's where all answers are alike), seeds and pools "
        "averaged per query. p: paired over queries, corrected for the number of methods (Holm, 1979)."
        " LM tokens: of one run, without training, sharing or cache."
        + (" By pool: the lowest and highest mean accuracy over one." if any(map(several_pools, comparisons)) else "")
        + (" Metrics are shown x 100." if metrics else "")
    )
    return "\n\n".join(part for part in parts if part) + "\n"


def metric_cells(entry: Summary, comparison: Comparison, metrics: Sequence[str]) -> list[str]:
    """Lays the metrics of a method out.

    Args:
        entry: The method.
        comparison: Its comparison.
        metrics: Names of metrics.

    Returns:
        One cell for each, x 100.
    """
    values = mean_metrics(comparison.rows_of(entry.method)) if metrics else {}
    return [f"{100 * values[name]:.1f}" if name in values else ABSENT for name in metrics]


def pool_cells(entry: Summary, comparison: Comparison) -> list[str]:
    """Lays out how far a method's accuracy differs from pool to pool.

    Args:
        entry: The method.
        comparison: Its comparison.

    Returns:
        One cell where there are several pools, none where there is one.
    """
    return [shown_pools(entry.by_pool)] if several_pools(comparison) else []


def _pools(comparison: Comparison) -> list[str]:
    return ["by pool"] if several_pools(comparison) else []


def _table(title: str) -> Table:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=escape(title), box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("method", no_wrap=True)
    return table


def _add_number(table: Table, heading: str) -> None:
    from rich.markup import escape

    table.add_column(escape(heading), justify="right", no_wrap=True)


def _add_method(table: Table, entry: Summary, cells: Sequence[str]) -> None:
    from rich.markup import escape

    table.add_row(escape(_named(entry)), *cells, style=None if entry.uses_lm else "dim")


def _named(entry: Summary) -> str:
    return entry.method if entry.uses_lm else f"{entry.method} (no LM)"


def _cells(entry: Summary, comparison: Comparison, metrics: Sequence[str], *, pools: bool = True) -> list[str]:
    versus = entry.versus
    return [
        shown_accuracy(entry.accuracy),
        "baseline" if versus is None else shown_difference(versus),
        "" if versus is None else shown_p(versus),
        *(pool_cells(entry, comparison) if pools else ()),
        *metric_cells(entry, comparison, metrics),
        f"{entry.tokens:,.0f}" if entry.uses_lm else "0",
    ]


def _trained(entry: Summary) -> str:
    return "unknown" if entry.training is None else f"{entry.training:,.0f}"


def _marked(entry: Summary) -> str:
    versus = entry.versus
    sign = " "
    if versus is not None and versus.p <= ALPHA and versus.delta:
        sign = "+" if versus.delta > 0 else "-"
    return f"{100 * entry.accuracy.estimate:.1f}{sign}"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(map(_markdown, cells))} |"


def _markdown(text: str) -> str:
    """Keeps names from becoming cells, emphasis, links or HTML."""
    plain = escape_html(" ".join(text.split()), quote=False)
    marked = "".join(f"\\{letter}" if letter in "\\`*_|" else letter for letter in plain)
    return marked.replace("](", "]\\(")
