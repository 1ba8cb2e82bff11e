"""Charts of one comparison as SVG text: accuracy with intervals, and cost against accuracy.

Each is drawn for one width in pixels, so that a page can show a wide and a narrow one at readable sizes. Methods that
ask a language model are filled dots, the others hollow ones. Colours come from the page's style.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from html import escape

from selector.evaluation.compare import Summary
from selector.evaluation.drawing import TOP, line, scale, spoken, svg, text
from selector.evaluation.layout import (
    BOLD,
    GAP,
    LINE,
    RADIUS,
    Box,
    percent_ticks,
    place_labels,
    shortened,
    text_width,
    token_ticks,
)

ROW, RIGHT = 30, 62
TALLEST_LABELS = 24


def accuracy_chart(
    summary: Sequence[Summary], *, width: int = 720, recommended: str = "", bounds: Collection[str] = ()
) -> str:
    """Draws each method's accuracy as a dot with its 95 % interval; a dashed line marks the baseline.

    Args:
        summary: The methods, top to bottom.
        width: Of the drawing, pixels.
        recommended: The method whose name is printed bold.
        bounds: The methods that are upper bounds.

    Returns:
        An SVG element.
    """
    gutter = max(text_width(entry.method) * (BOLD if entry.method == recommended else 1) for entry in summary) + 2 * GAP
    above = gutter > 0.4 * width  # names do not fit beside the intervals: put each on a line of its own
    left, row = (2 * GAP, ROW + 14) if above else (gutter, ROW)
    ticks = percent_ticks(
        min(entry.accuracy.low for entry in summary),
        max(entry.accuracy.high for entry in summary),
        most=8 if width > 500 else 5,
    )
    bottom = TOP + row * len(summary)

    def x(value: float) -> float:
        return scale(ticks, value, left, width - RIGHT)

    body = [line("grid", (x(tick), TOP), (x(tick), bottom)) for tick in ticks]
    body += [text("tick", f"{100 * tick:.0f}%", (x(tick), bottom + 20), anchor="middle") for tick in ticks]
    baselines = [x(entry.accuracy.estimate) for entry in summary if entry.versus is None]
    body += [line("baseline", (place, TOP), (place, bottom)) for place in baselines]
    for place, entry in enumerate(summary):
        own, y = entry.accuracy, TOP + row * (place + (0.7 if above else 0.5))
        name = shortened(entry.method, (width - 2 * GAP) / BOLD)
        kind = "name strong" if entry.method == recommended else "name"
        label = text(kind, name, (GAP, y - 13)) if above else text(kind, name, (left - 14, y + 4), anchor="end")
        interval = line("interval", (x(own.low), y), (x(own.high), y))
        value = text("value", f"{100 * own.estimate:.1f}", (width - 6, y + 4), anchor="end")
        inside = label + interval + _dot(x(own.estimate), y) + value
        body.append(_group(entry, spoken(entry), inside, bounds=bounds))
    description = "Accuracy with 95 % intervals, best first. " + "; ".join(map(spoken, summary))
    return svg("Accuracy of each method", description, (width, bottom + 34), body)


def cost_chart(
    summary: Sequence[Summary], *, width: int = 720, recommended: str = "", bounds: Collection[str] = ()
) -> str:
    """Draws accuracy over the language-model tokens of one run, on a logarithmic axis.

    Methods that ask no language model stand in a strip of their own at the left. Steps join the methods that no cheaper
    one equals, upper bounds aside.

    Args:
        summary: The methods.
        width: Of the drawing, pixels.
        recommended: The method whose name is printed bold.
        bounds: The methods that are upper bounds.

    Returns:
        An SVG element.
    """
    estimates = [entry.accuracy.estimate for entry in summary]
    ticks = percent_ticks(min(estimates), max(estimates), most=8)
    left, right = 48, width - 16
    bottom = TOP + max(300, min(len(summary), TALLEST_LABELS) * 2 * LINE)
    free = any(entry.tokens <= 0 for entry in summary)
    strip = left + (0.3 * width if free else 0.0)
    paid = [math.log10(entry.tokens) for entry in summary if entry.tokens > 0] or [0.0]
    # Half a decade of air on either side, so that a single cost does not stand on the frame.
    decades = (min(paid) - 0.25, max(paid) + 0.5)

    def x(tokens: float) -> float:
        return scale(decades, math.log10(tokens), strip, right) if tokens > 0 else left + 2 * GAP

    def y(value: float) -> float:
        return scale(ticks, value, bottom - GAP, TOP + GAP)

    body = [line("grid", (left, y(tick)), (right, y(tick))) for tick in ticks]
    body += [text("tick", f"{100 * tick:.0f}%", (left - 8, y(tick) + 4), anchor="end") for tick in ticks]
    if free:
        body.append(line("baseline", (strip, TOP), (strip, bottom)))
        body.append(text("tick", "no LM", ((left + strip) / 2, bottom + 20), anchor="middle"))
    body += [
        text("tick", _short(tokens), (x(tokens), bottom + 20), anchor="middle")
        for tokens in token_ticks(*decades, most=width // 100)
    ]
    body.append(text("tick", "LM tokens of one run", (right, bottom + 40), anchor="end"))
    body.append(_steps([entry for entry in summary if entry.method not in bounds], x, y, end=right))
    dots = [(x(entry.tokens), y(entry.accuracy.estimate)) for entry in summary]
    body += _labelled_dots(summary, dots, frame=Box(left, 0, width, bottom), recommended=recommended, bounds=bounds)
    description = "Language-model tokens of one run against accuracy. " + "; ".join(map(_spoken_cost, summary))
    return svg("Cost against accuracy", description, (width, bottom + 50), body)


def _steps(summary: Sequence[Summary], x: Callable[[float], float], y: Callable[[float], float], *, end: float) -> str:
    """The best accuracy that can be had for so many tokens."""
    corners: list[tuple[float, float]] = []
    best = -1.0
    for entry in sorted(summary, key=lambda own: (own.tokens, -own.accuracy.estimate)):
        if entry.accuracy.estimate > best:
            best = entry.accuracy.estimate
            corners.append((x(entry.tokens), y(best)))
    path = f"M{corners[0][0]:.1f} {corners[0][1]:.1f}" + "".join(f"H{at:.1f}V{to:.1f}" for at, to in corners[1:])
    return f'<path class="steps" d="{path}H{end:.1f}"/>'


def _labelled_dots(
    summary: Sequence[Summary],
    dots: Sequence[tuple[float, float]],
    *,
    frame: Box,
    recommended: str,
    bounds: Collection[str],
) -> list[str]:
    """Leaders first, so that no dot or name is crossed out by one."""
    names = [shortened(entry.method, 0.3 * frame.right - 3 * GAP) for entry in summary]
    widths = [
        text_width(name) * (BOLD if entry.method == recommended else 1)
        for entry, name in zip(summary, names, strict=True)
    ]
    boxes = place_labels(dots, widths, frame)
    body = [_leader(dot, box) for dot, box in zip(dots, boxes, strict=True) if box is not None]
    for entry, dot, name, box in zip(summary, dots, names, boxes, strict=True):
        kind = "name strong" if entry.method == recommended else "name"
        label = ""
        if box is not None:
            # The end at the dot is held fast, since widths are estimates.
            start, anchor = (box.left, "start") if box.left > dot[0] else (box.right, "end")
            label = text(kind, name, (start, box.top + 12), anchor=anchor)
        body.append(_group(entry, _spoken_cost(entry), _dot(*dot) + label, bounds=bounds))
    return body


def _group(entry: Summary, title: str, inside: str, *, bounds: Collection[str]) -> str:
    bound = entry.method in bounds
    kind = "bound" if bound else "lm" if entry.uses_lm else "free"
    return f'<g class="{kind}"><title>{escape(title + ", an upper bound" * bound)}</title>{inside}</g>'


def _dot(x: float, y: float) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{RADIUS}"/>'


def _spoken_cost(entry: Summary) -> str:
    return f"{spoken(entry)}, {entry.tokens:,.0f} tokens"


def _leader(dot: tuple[float, float], box: Box) -> str:
    """A line to a label that stands more than a line away from its dot."""
    middle = (box.top + box.bottom) / 2
    if abs(middle - dot[1]) < LINE:
        return ""
    return line("leader", dot, (box.left - 2 if box.left > dot[0] else box.right + 2, middle))


def _short(tokens: float) -> str:
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if tokens >= unit:
            return f"{tokens / unit:g}{name}"
    return f"{tokens:g}"
