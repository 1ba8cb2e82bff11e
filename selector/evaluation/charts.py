"""Charts as SVG text: accuracy with intervals, and cost against accuracy. Colours come from the page's style."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from selector.evaluation.compare import Summary

WIDTH = 720
ROW = 30
LEFT, RIGHT, TOP, BOTTOM = 190, 70, 12, 34


def _scale(low: float, high: float, start: float, end: float, value: float) -> float:
    return start + (end - start) * (value - low) / (high - low)


def _percent_range(summary: Sequence[Summary]) -> tuple[float, float]:
    low = min(entry.accuracy.low for entry in summary)
    high = max(entry.accuracy.high for entry in summary)
    return max(0.0, math.floor(low * 10) / 10), min(1.0, math.ceil(high * 10) / 10 or 1.0)


def _ticks(low: float, high: float) -> list[float]:
    count = round((high - low) * 10)
    step = 1 if count <= 6 else 2
    return [low + tenth / 10 for tenth in range(0, count + 1, step)]


def _frame(title: str, height: int, body: list[str]) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title, quote=True)}">'
        f"<title>{escape(title)}</title>{''.join(body)}</svg>"
    )


def accuracy_chart(summary: Sequence[Summary]) -> str:
    """Draws each method's accuracy as a dot with its 95 % interval, best on top.

    Args:
        summary: The methods, in the order wanted.

    Returns:
        An SVG element.
    """
    low, high = _percent_range(summary)
    height = TOP + ROW * len(summary) + BOTTOM
    bottom = height - BOTTOM

    def x(value: float) -> float:
        return _scale(low, high, LEFT, WIDTH - RIGHT, value)

    body = []
    for tick in _ticks(low, high):
        body.append(f'<line class="grid" x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="{TOP}" y2="{bottom}"/>')
        body.append(
            f'<text class="tick" x="{x(tick):.1f}" y="{bottom + 20}" text-anchor="middle">{100 * tick:.0f}%</text>'
        )
    for place, entry in enumerate(summary):
        y = TOP + ROW * (place + 0.5)
        kind = "lm" if entry.uses_lm else "free"
        own = entry.accuracy
        tip = f"{entry.method}: {100 * own.estimate:.1f} ({100 * own.low:.1f} to {100 * own.high:.1f})"
        body.append(
            f'<g class="{kind}"><title>{escape(tip)}</title>'
            f'<text class="name" x="{LEFT - 12}" y="{y + 4:.1f}" text-anchor="end">{escape(entry.method)}</text>'
            f'<line class="interval" x1="{x(own.low):.1f}" x2="{x(own.high):.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<circle cx="{x(own.estimate):.1f}" cy="{y:.1f}" r="5"/>'
            f'<text class="value" x="{WIDTH - RIGHT + 12}" y="{y + 4:.1f}">{100 * own.estimate:.1f}</text></g>'
        )
    return _frame("Accuracy on the test queries with 95 % intervals", height, body)


def cost_chart(summary: Sequence[Summary]) -> str:
    """Draws accuracy over the language-model tokens of one run; LM-free methods stand at the left edge.

    Args:
        summary: The methods.

    Returns:
        An SVG element.
    """
    low, high = _percent_range(summary)
    height = 360
    left, bottom = 64, height - 48
    paid = [entry.tokens for entry in summary if entry.tokens > 0] or [1.0]
    first, last = math.log10(min(paid)) - 0.35, math.log10(max(paid)) + 0.45

    def x(tokens: float) -> float:
        return _scale(first, last, left + 40, WIDTH - 90, math.log10(tokens)) if tokens > 0 else left + 10

    def y(value: float) -> float:
        return _scale(low, high, bottom, TOP + 8, value)

    body = []
    for tick in _ticks(low, high):
        body.append(f'<line class="grid" x1="{left}" x2="{WIDTH - 20}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>')
        body.append(
            f'<text class="tick" x="{left - 10}" y="{y(tick) + 4:.1f}" text-anchor="end">{100 * tick:.0f}%</text>'
        )
    body.append(f'<text class="tick" x="{left + 10}" y="{bottom + 20}" text-anchor="middle">no LM</text>')
    for tokens in _token_ticks(10**first, 10**last):
        body.append(
            f'<text class="tick" x="{x(tokens):.1f}" y="{bottom + 20}" text-anchor="middle">{_short(tokens)}</text>'
        )
    body.append(f'<text class="tick" x="{WIDTH - 20}" y="{bottom + 40}" text-anchor="end">LM tokens of one run</text>')
    body += _labelled_dots([(x(entry.tokens), y(entry.accuracy.estimate), entry) for entry in summary])
    return _frame("Language-model tokens against accuracy", height, body)


def _labelled_dots(dots: Sequence[tuple[float, float, Summary]]) -> list[str]:
    """Dots whose labels are moved down until none covers another."""
    body: list[str] = []
    taken: list[tuple[float, float, float]] = []  # left, right and baseline of labels placed so far
    for dot_x, dot_y, entry in sorted(dots, key=lambda dot: dot[1]):
        width = 7.2 * len(entry.method)
        on_left = dot_x + 10 + width > WIDTH - 4
        start = dot_x - 10 - width if on_left else dot_x + 10
        line = dot_y + 4
        while any(start < right and start + width > left and abs(line - other) < 14 for left, right, other in taken):
            line += 2
        taken.append((start, start + width, line))
        leader = f'<line class="leader" x1="{dot_x:.1f}" y1="{dot_y:.1f}" x2="{start:.1f}" y2="{line - 4:.1f}"/>'
        body.append(
            f'<g class="{"lm" if entry.uses_lm else "free"}">'
            f"<title>{escape(entry.method)}: {100 * entry.accuracy.estimate:.1f}, {entry.tokens:,.0f} tokens</title>"
            f"{leader if abs(line - 4 - dot_y) > 6 and not on_left else ''}"
            f'<circle cx="{dot_x:.1f}" cy="{dot_y:.1f}" r="5"/>'
            f'<text class="name" x="{start:.1f}" y="{line:.1f}">{escape(entry.method)}</text></g>'
        )
    return body


def _token_ticks(low: float, high: float) -> list[float]:
    ticks = [
        factor * 10**power for power in range(int(math.log10(low)), int(math.log10(high)) + 1) for factor in (1, 3)
    ]
    return [tick for tick in ticks if low < tick < high]


def _short(tokens: float) -> str:
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if tokens >= unit:
            return f"{tokens / unit:g}{name}"
    return f"{tokens:g}"
