"""A comparison as one HTML file that opens offline: verdict, charts, table, confusions, and queries to browse.

Everything is inline; the page asks for nothing from outside and forbids itself to. It follows the reader's light or
dark setting and fits a phone. Without scripts it still shows all but the confusions and the queries.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from selector.data.paths import write_whole
from selector.errors import UsageError
from selector.evaluation.charts import accuracy_chart, cost_chart
from selector.evaluation.compare import Comparison
from selector.evaluation.curves import SHOWN_SETS, method_names, order_chart, shots_chart
from selector.evaluation.drawing import marker, style_of
from selector.evaluation.results import several_pools
from selector.evaluation.samples import inline_json, report_data
from selector.evaluation.sections import facts, result_rows, set_rows, verdict_card, verdicts_by_shots
from selector.evaluation.stability import StabilityReport
from selector.types import Example

WIDE, NARROW = 960, 340  # pixels: two drawings of each chart, one for a phone


def _part(name: str) -> str:
    return (Path(__file__).parent / "page" / name).read_text(encoding="utf-8")


def _filled(name: str, **values: str) -> str:
    return Template(_part(name)).substitute(values)


def write_report(
    path: Path,
    comparisons: Sequence[Comparison],
    *,
    pool: Sequence[Example],
    queries: Sequence[Example],
    context: Mapping[str, Any],
    stability: StabilityReport | None = None,
    metrics: Sequence[str] = (),
) -> Path:
    """Writes the report.

    Args:
        path: The HTML file.
        comparisons: One for each number of shots, all of the same queries; that of the most shots is seen first.
        pool: Where demonstrations came from; members of all pools.
        queries: The queries, in the order compared.
        context: What it is about; `facts` says what of it is shown.
        stability: How much accuracy depends on the order of demonstrations, where that was measured.
        metrics: Further metrics that get a column, by name.

    Returns:
        The path.

    Raises:
        UsageError: When there is no comparison, or two have the same number of shots.
        DiskFullError: When there is no room.
    """
    ascending = sorted(comparisons, key=lambda own: own.shots)
    numbers = [own.shots for own in ascending]
    if not numbers or len(set(numbers)) < len(numbers):
        raise UsageError(
            f"the report is to show {numbers} shots",
            expected="at least one comparison, each with its own number of shots",
            remedy="Pass one comparison for each number of shots.",
        )
    data = report_data(ascending, pool, queries)
    task = str(context.get("task", "comparison"))
    page = _filled(
        "report.html",
        title=escape(f"{task}: demonstration selectors compared"),
        task=escape(task),
        subtitle=escape(f"{len(queries):,} test queries" + (f", {context['lm']}" if context.get("lm") else "")),
        style=_part("report.css"),
        **_script(),
        data=inline_json(data),
        switch=_switch(numbers),
        verdict=_panels(ascending, verdict_card) + verdicts_by_shots(ascending),
        curve=_curve(ascending) if len(ascending) > 1 else "",
        accuracy=_panels(ascending, lambda own: _both_widths(_figure_of(accuracy_chart, own))),
        cost=_panels(ascending, lambda own: _both_widths(_figure_of(cost_chart, own))),
        bounds=" Grey: upper bounds, which know what no method can know." if _has_bounds(ascending) else "",
        baseline=escape(ascending[-1].baseline),
        table=_panels(ascending, lambda own: _table(own, metrics)),
        order=_order(stability) if stability is not None else "",
        confusion=_part("confusion.html") if data["labels"] else "",
        shown=f"{len(data['queries']):,} of {len(queries):,}",
        facts=facts(ascending, len(queries), context),
    )
    return write_whole(path, page)


def _script() -> dict[str, str]:
    """The script, and the hash by which the page allows it and no other."""
    script = _part("report.js")
    return {"script": script, "script_hash": b64encode(hashlib.sha256(script.encode()).digest()).decode()}


def _has_bounds(comparisons: Sequence[Comparison]) -> bool:
    return any(own.verdict is not None and own.verdict.upper_bounds for own in comparisons)


def _switch(numbers: Sequence[int]) -> str:
    """Chooses the number of shots; nothing where there is one."""
    if len(numbers) < 2:
        return ""
    choices = "".join(
        f'<label><input type="radio" name="shots" value="{number}"{" checked" if number == numbers[-1] else ""}>'
        f"<span>{number}</span></label>"
        for number in numbers
    )
    return f'<fieldset class="switch scripted-only"><legend>Shots</legend>{choices}</fieldset>'


def _panels(comparisons: Sequence[Comparison], part: Callable[[Comparison], str]) -> str:
    """The same part for each number of shots, of which the script leaves one to be seen."""
    if len(comparisons) == 1:
        return f"<div>{part(comparisons[0])}</div>"
    return "".join(
        f'<div data-shots="{own.shots}"><p class="of-shots">{own.shots} shots</p>{part(own)}</div>'
        for own in comparisons
    )


def _figure_of(chart: Callable[..., str], comparison: Comparison) -> Callable[[int], str]:
    verdict = comparison.verdict
    marked = {} if verdict is None else {"recommended": verdict.recommended, "bounds": verdict.upper_bounds}
    return lambda width: chart(comparison.summary, width=width, **marked)


def _both_widths(drawn: Callable[[int], str]) -> str:
    return f'<figure><div class="wide">{drawn(WIDE)}</div><div class="narrow">{drawn(NARROW)}</div></figure>'


def _curve(comparisons: Sequence[Comparison]) -> str:
    """The shots curve, with a button for each line that brings it out."""
    buttons = "".join(
        f'<button type="button" aria-pressed="false" data-series="{number}" class="series {style_of(number)}">'
        f'<svg viewBox="0 0 16 16" aria-hidden="true">{marker(number, (8, 8))}</svg>'
        f"<span>{escape(name)}</span></button>"
        for number, name in enumerate(method_names(comparisons))
    )
    figure = _both_widths(lambda width: shots_chart(comparisons, width=width))
    return _filled("curve.html", figure=figure, buttons=buttons)


def _table(comparison: Comparison, metrics: Sequence[str]) -> str:
    named = "".join(f'<th scope="col">{escape(name)} x 100</th>' for name in metrics)
    if several_pools(comparison):
        named = '<th scope="col">by pool</th>' + named
    rows = result_rows(comparison, metrics=metrics)
    return _filled("table.html", baseline=escape(comparison.baseline), metrics=named, rows=rows)


def _order(report: StabilityReport) -> str:
    count = len(report.sets)
    left_out = f" The first {SHOWN_SETS} of {count} sets are drawn." if count > SHOWN_SETS else ""
    return _filled(
        "order.html",
        verdict=escape(report.verdict),
        figure=_both_widths(lambda width: order_chart(report, width=width)),
        left_out=left_out,
        rows=set_rows(report),
    )
