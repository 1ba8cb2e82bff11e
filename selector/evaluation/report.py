"""A comparison as one HTML file that opens offline: charts, table, and queries with what each method showed.

Everything is inline; text from data is escaped. It follows the reader's light or dark setting and fits a phone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from selector.data.pool import Pool
from selector.evaluation.charts import accuracy_chart, cost_chart
from selector.evaluation.compare import Comparison, QueryOutcome, Row, Summary
from selector.evaluation.results import shown_difference, shown_p, shown_verdict, write_whole
from selector.prompting.embedding_text import input_text
from selector.types import Example

SHOWN_QUERIES = 24
WIDE, NARROW = 720, 340  # pixels: two drawings of each chart, one for a phone
PAGE = Template((Path(__file__).parent / "report.html").read_text(encoding="utf-8"))


def write_report(
    path: Path, comparison: Comparison, *, pool: Pool, queries: Sequence[Example], context: Mapping[str, Any]
) -> Path:
    """Writes the report.

    Args:
        path: The HTML file.
        comparison: The comparison.
        pool: Where demonstrations came from.
        queries: The queries, in the order compared.
        context: What it is about; "task", "lm", "leaks" and "command" are shown.

    Returns:
        The path.

    Raises:
        DiskFullError: When there is no room.
    """
    best = comparison.summary[0]
    facts = {
        "task": context.get("task", ""),
        "language model": context.get("lm", ""),
        "shots": comparison.shots,
        "test queries": len(queries),
        "rows left out": _left_out(context.get("leaks", {})),
        "baseline": comparison.baseline,
        "command": context.get("command", ""),
    }
    page = PAGE.substitute(
        title=escape(f"{context.get('task', 'comparison')}: demonstration selectors compared"),
        verdict=escape(shown_verdict(comparison)),
        facts="".join(
            f"<dt>{escape(name)}</dt><dd>{escape(str(value))}</dd>" for name, value in facts.items() if value
        ),
        accuracy=_both_widths(accuracy_chart, comparison),
        cost=_both_widths(cost_chart, comparison),
        baseline=escape(comparison.baseline),
        table="".join(_table_row(entry, best is entry) for entry in comparison.summary),
        shown=f"{min(len(queries), SHOWN_QUERIES)} of {len(queries)}",
        samples="".join(_samples(comparison, pool, queries)),
    )
    return write_whole(path, page)


def spread(count: int, wanted: int) -> list[int]:
    """Chooses positions evenly over a sequence, since rows of a file may be sorted by label.

    Args:
        count: Its length.
        wanted: How many at most.

    Returns:
        Ascending positions, the first of them 0.
    """
    taken = min(count, wanted)
    return [place * count // taken for place in range(taken)]


def _left_out(leaks: Mapping[str, int]) -> str:
    """Says how many rows were kept out of the splits, and how many of those for nearly the same text."""
    near = leaks.get("near_duplicates", 0)
    repeats = sum(leaks.values()) - near
    if not repeats and not near:
        return ""
    return f"{repeats} that repeat another split or an earlier row" + (
        f"; {near} for nearly the same text" if near else ""
    )


def _both_widths(chart: Callable[..., str], comparison: Comparison) -> str:
    wide, narrow = chart(comparison.summary, width=WIDE), chart(comparison.summary, width=NARROW)
    return f'<div class="wide">{wide}</div><div class="narrow">{narrow}</div>'


def _table_row(entry: Summary, best: bool) -> str:
    versus = entry.versus
    difference, p = "baseline", ""
    if versus is not None:
        difference, p = shown_difference(versus), shown_p(versus)
    cells = (
        f"{100 * entry.accuracy.estimate:.1f}",
        f"{100 * entry.accuracy.low:.1f} to {100 * entry.accuracy.high:.1f}",
        difference,
        p,
        f"{entry.tokens:,.0f}" if entry.uses_lm else "none",
        f"{entry.seconds:.1f}",
    )
    kind = ("best " if best else "") + ("lm" if entry.uses_lm else "free")
    return (
        f'<tr class="{kind}"><th scope="row" title="{escape(entry.method)}">{escape(entry.method)}</th>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        + "</tr>"
    )


def _samples(comparison: Comparison, pool: Pool, queries: Sequence[Example]) -> list[str]:
    members = {example.uid: example for example in pool}
    first_runs: dict[str, Row] = {}
    for row in comparison.rows:
        first_runs.setdefault(row.method, row)
    samples = []
    for number in spread(len(queries), SHOWN_QUERIES):
        query = queries[number]
        answers = "".join(_answer(row.outcomes[number], row.method, members) for row in first_runs.values())
        right = sum(row.outcomes[number].correct for row in first_runs.values())
        samples.append(
            f"<details><summary><span>{escape(input_text(query))}</span>"
            f"<small>{escape(str(query.label))}, {right} of {len(first_runs)} right</small></summary>"
            f"{answers}</details>"
        )
    return samples


def _answer(outcome: QueryOutcome, method: str, members: Mapping[str, Example]) -> str:
    mark = "right" if outcome.correct else "wrong"
    share = outcome.probabilities.get(outcome.predicted)
    certainty = f" ({share:.2f})" if share is not None else ""
    shown = "".join(
        f"<li><b>{escape(str(members[uid].label))}</b> {escape(input_text(members[uid]))}</li>"
        for uid in outcome.demonstrations
    )
    answer = (
        f"<p><b>{escape(method)}</b> answers <em class='{mark}'>{escape(outcome.predicted)}{certainty}</em>, {mark}</p>"
    )
    return f"<section>{answer}{f'<ol>{shown}</ol>' if shown else ''}</section>"
