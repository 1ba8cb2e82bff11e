"""Charts as SVG text: accuracy with intervals, and cost against accuracy.

Each is drawn for one width in pixels, so that a page can show a wide and a narrow one at readable sizes. Colours come
from the page's style.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from selector.evaluation.compare import Summary
from selector.evaluation.layout import (
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

ROW, TOP, RIGHT = 30, 14, 62
TALLEST_LABELS = 24


def accuracy_chart(summary: Sequence[Summary], *, width: int = 720) -> str:
    """Draws each method's accuracy as a dot with its 95 % interval; a dashed line marks the baseline.

    Args:
        summary: The methods, top to bottom.
        width: Of the drawing, pixels.

    Returns:
        An SVG element.
    """
    gutter = max(text_width(entry.method) for entry in summary) + 2 * GAP
    above = gutter > 0.4 * width  # names do not fit beside the intervals: put each on a line of its own
    left, row = (2 * GAP, ROW + 14) if above else (gutter, ROW)
    ticks = percent_ticks(
        min(entry.accuracy.low for entry in summary),
        max(entry.accuracy.high for entry in summary),
        most=8 if width > 500 else 5,
    )
    bottom = TOP + row * len(summary)

    def x(value: float) -> float:
        return _scale(ticks, value, left, width - RIGHT)

    body = [_vertical("grid", x(tick), bottom) + _tick(f"{100 * tick:.0f}%", x(tick), bottom + 20) for tick in ticks]
    body += [_vertical("baseline", x(entry.accuracy.estimate), bottom) for entry in summary if entry.versus is None]
    for place, entry in enumerate(summary):
        own, y = entry.accuracy, TOP + row * (place + (0.7 if above else 0.5))
        name = shortened(entry.method, width - 2 * GAP)
        where = f'x="{GAP}" y="{y - 13:.1f}"' if above else f'x="{left - 14:.1f}" y="{y + 4:.1f}" text-anchor="end"'
        body.append(
            f'<g class="{_kind(entry)}"><title>{escape(_spoken(entry))}</title><text class="name" {where}>'
            f'{escape(name)}</text><line class="interval" x1="{x(own.low):.1f}" x2="{x(own.high):.1f}" y1="{y:.1f}" '
            f'y2="{y:.1f}"/><circle cx="{x(own.estimate):.1f}" cy="{y:.1f}" r="{RADIUS}"/>'
            f'<text class="value" x="{width - 6}" y="{y + 4:.1f}" text-anchor="end">{100 * own.estimate:.1f}</text></g>'
        )
    alt = "Accuracy with 95 % intervals. " + "; ".join(map(_spoken, summary))
    return _svg(alt, width, bottom + 34, body)


def cost_chart(summary: Sequence[Summary], *, width: int = 720) -> str:
    """Draws accuracy over the language-model tokens of one run, on a logarithmic axis.

    Methods that ask no language model stand in a strip of their own at the left.

    Args:
        summary: The methods.
        width: Of the drawing, pixels.

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
        return _scale(decades, math.log10(tokens), strip, right) if tokens > 0 else left + 2 * GAP

    def y(value: float) -> float:
        return _scale(ticks, value, bottom - GAP, TOP + GAP)

    body = []
    for tick in ticks:
        body.append(f'<line class="grid" x1="{left}" x2="{right}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>')
        body.append(
            f'<text class="tick" x="{left - 8}" y="{y(tick) + 4:.1f}" text-anchor="end">{100 * tick:.0f}%</text>'
        )
    if free:
        body.append(_vertical("baseline", strip, bottom) + _tick("no LM", (left + strip) / 2, bottom + 20))
    body += [_tick(_short(tokens), x(tokens), bottom + 20) for tokens in token_ticks(*decades, most=width // 100)]
    body.append(f'<text class="tick" x="{right}" y="{bottom + 40}" text-anchor="end">LM tokens of one run</text>')
    dots = [(x(entry.tokens), y(entry.accuracy.estimate)) for entry in summary]
    body += _labelled_dots(summary, dots, frame=Box(left, 0, width, bottom))
    alt = "Language-model tokens of one run against accuracy. " + "; ".join(
        f"{_spoken(entry)}, {entry.tokens:,.0f} tokens" for entry in summary
    )
    return _svg(alt, width, bottom + 50, body)


def _labelled_dots(summary: Sequence[Summary], dots: Sequence[tuple[float, float]], *, frame: Box) -> list[str]:
    """Leaders first, so that no dot or name is crossed out by one."""
    names = [shortened(entry.method, 0.3 * frame.right - 3 * GAP) for entry in summary]
    boxes = place_labels(dots, [text_width(name) for name in names], frame)
    body = [_leader(dot, box) for dot, box in zip(dots, boxes, strict=True) if box is not None]
    for entry, dot, name, box in zip(summary, dots, names, boxes, strict=True):
        label = f'<text class="name" x="{box.left:.1f}" y="{box.top + 12:.1f}">{escape(name)}</text>' if box else ""
        body.append(
            f'<g class="{_kind(entry)}"><title>{escape(_spoken(entry))}, {entry.tokens:,.0f} tokens</title>'
            f'<circle cx="{dot[0]:.1f}" cy="{dot[1]:.1f}" r="{RADIUS}"/>{label}</g>'
        )
    return body


def _scale(ends: Sequence[float], value: float, start: float, end: float) -> float:
    return start + (end - start) * (value - ends[0]) / (ends[-1] - ends[0])


def _kind(entry: Summary) -> str:
    return "lm" if entry.uses_lm else "free"


def _spoken(entry: Summary) -> str:
    own = entry.accuracy
    return f"{entry.method}: {100 * own.estimate:.1f} ({100 * own.low:.1f} to {100 * own.high:.1f})"


def _vertical(kind: str, x: float, bottom: float) -> str:
    return f'<line class="{kind}" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{bottom}"/>'


def _tick(text: str, x: float, y: float) -> str:
    return f'<text class="tick" x="{x:.1f}" y="{y:.1f}" text-anchor="middle">{text}</text>'


def _leader(dot: tuple[float, float], box: Box) -> str:
    """A line to a label that stands more than a line away from its dot."""
    middle = (box.top + box.bottom) / 2
    if abs(middle - dot[1]) < LINE:
        return ""
    end = box.left - 2 if box.left > dot[0] else box.right + 2
    return f'<line class="leader" x1="{dot[0]:.1f}" y1="{dot[1]:.1f}" x2="{end:.1f}" y2="{middle:.1f}"/>'


def _short(tokens: float) -> str:
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if tokens >= unit:
            return f"{tokens / unit:g}{name}"
    return f"{tokens:g}"


def _svg(alt: str, width: int, height: float, body: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {width} {height:.0f}" role="img" aria-label="{escape(alt, quote=True)}">'
        f"{''.join(body)}</svg>"
    )
