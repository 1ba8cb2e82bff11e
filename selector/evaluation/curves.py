"""Charts over several measurements as SVG text: accuracy over shots, and accuracy over the orders of fixed sets.

They know comparisons and stability reports, not the page; each is drawn for one width in pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from itertools import pairwise

from selector.evaluation.compare import Comparison, Summary
from selector.evaluation.drawing import TOP, line, marker, scale, spoken, style_of, svg, text
from selector.evaluation.layout import GAP, LINE, percent_ticks, shortened, spaced, text_width
from selector.evaluation.stability import SetStability, StabilityReport

DODGE = 7  # between the whiskers of two methods, pixels, where there is room
STRIP = 34
SHOWN_SETS = 40


def method_names(comparisons: Sequence[Comparison]) -> list[str]:
    """Numbers the methods of several comparisons.

    Args:
        comparisons: The comparisons; the last one's order comes first.

    Returns:
        Each name once: the place in the list is the number of its line in the chart.
    """
    return list(dict.fromkeys(entry.method for own in reversed(comparisons) for entry in own.summary))


def shots_chart(comparisons: Sequence[Comparison], *, width: int = 720) -> str:
    """Draws accuracy over the number of shots, one line with 95 % intervals for each method.

    Shots stand on a logarithmic axis, on which 0 has a place too.

    Args:
        comparisons: Two or more, ascending in shots.
        width: Of the drawing, pixels.

    Returns:
        An SVG element.
    """
    methods = method_names(comparisons)
    names = [shortened(name, 0.26 * width) for name in methods]
    axes = _Axes(comparisons, len(methods), right=width - max(map(text_width, names)) - 3 * GAP)
    points = [_points(comparisons, name) for name in methods]
    ends = [(axes.x(own[-1][0], at), axes.y(own[-1][1].accuracy.estimate)) for at, own in enumerate(points)]
    heights = spaced([end[1] for end in ends], gap=LINE, low=TOP + GAP, high=axes.bottom - GAP)
    body = axes.drawn()
    for at, (own, end, height) in enumerate(zip(points, ends, heights, strict=True)):
        tail = line("leader", (end[0] + 7, end[1]), (axes.right + GAP, height))
        label = text("name", names[at], (axes.right + 1.5 * GAP, height + 4))
        body.append(_series(at, own, axes, tail=tail, label=label))
    description = "Accuracy with 95 % intervals over the number of demonstrations. " + ". ".join(
        f"{own.shots} shots: " + "; ".join(map(spoken, own.summary)) for own in comparisons
    )
    return svg("Accuracy over the number of demonstrations", description, (width, axes.bottom + 50), body)


class _Axes:
    """Where shots and accuracies stand; each of the lines is moved aside a little, so that whiskers are apart."""

    def __init__(self, comparisons: Sequence[Comparison], lines: int, *, right: float) -> None:
        entries = [entry for own in comparisons for entry in own.summary]
        low = min(entry.accuracy.low for entry in entries)
        self.ticks = percent_ticks(low, max(entry.accuracy.high for entry in entries), most=8)
        self.shots = [own.shots for own in comparisons]
        self.left, self.right = 48.0, right
        self.bottom = TOP + max(320, lines * LINE + 2 * GAP)
        self._steps = [math.log2(shots + 1) for shots in self.shots]
        nearest = min(after - before for before, after in pairwise(self._steps)) / (self._steps[-1] - self._steps[0])
        self._dodge = min(DODGE, 0.5 * nearest * (right - self.left) / lines)
        self._centre = (lines - 1) / 2

    def x(self, shots: int, number: int) -> float:
        margin = self._dodge * (self._centre + 0.5) + GAP
        middle = scale(self._steps, math.log2(shots + 1), self.left + margin, self.right - margin)
        return middle + self._dodge * (number - self._centre)

    def y(self, accuracy: float) -> float:
        return scale(self.ticks, accuracy, self.bottom - GAP, TOP + GAP)

    def drawn(self) -> list[str]:
        body = [line("grid", (self.left, self.y(tick)), (self.right, self.y(tick))) for tick in self.ticks]
        body += [
            text("tick", f"{100 * tick:.0f}%", (self.left - 8, self.y(tick) + 4), anchor="end") for tick in self.ticks
        ]
        for shots in self.shots:
            middle = self.x(shots, 0) + self._dodge * self._centre
            body.append(text("tick", str(shots), (middle, self.bottom + 20), anchor="middle"))
        centre = ((self.left + self.right) / 2, self.bottom + 40)
        return [*body, text("tick", "demonstrations in the prompt", centre, anchor="middle")]


def _series(number: int, points: Sequence[tuple[int, Summary]], axes: _Axes, *, tail: str, label: str) -> str:
    places = [(axes.x(shots, number), axes.y(entry.accuracy.estimate)) for shots, entry in points]
    whiskers = [
        line("interval", (x, axes.y(entry.accuracy.low)), (x, axes.y(entry.accuracy.high)))
        for (x, _), (_, entry) in zip(places, points, strict=True)
    ]
    curve = f'<polyline class="curve" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in places)}"/>'
    marks = [marker(number, place) for place in places]
    title = "; ".join(f"{shots} shots, {spoken(entry)}" for shots, entry in points)
    return (
        f'<g class="series {style_of(number)}" data-series="{number}"><title>{escape(title)}</title>'
        f"{tail}{''.join(whiskers)}{curve}{''.join(marks)}{label}</g>"
    )


def _points(comparisons: Sequence[Comparison], method: str) -> list[tuple[int, Summary]]:
    return [(own.shots, entry) for own in comparisons for entry in own.summary if entry.method == method]


def order_chart(report: StabilityReport, *, width: int = 720) -> str:
    """Draws the accuracy of every order of each set as a dot on a strip.

    A bar behind the dots is as long as the queries alone would make the spread: the mean, and two standard deviations
    of sampling noise on either side.

    Args:
        report: The sets; at most 40 are drawn.
        width: Of the drawing, pixels.

    Returns:
        An SVG element.
    """
    sets = report.sets[:SHOWN_SETS]
    bars = [(max(0.0, own.mean - 2 * own.noise), min(1.0, own.mean + 2 * own.noise)) for own in sets]
    ticks = percent_ticks(
        min(min(own.lowest, low) for own, (low, _) in zip(sets, bars, strict=True)),
        max(max(own.highest, high) for own, (_, high) in zip(sets, bars, strict=True)),
        most=8 if width > 500 else 5,
    )
    left, right = 78.0, width - 62.0
    bottom = TOP + STRIP * len(sets)

    def x(value: float) -> float:
        return scale(ticks, value, left, right)

    body = [line("grid", (x(tick), TOP), (x(tick), bottom)) for tick in ticks]
    body += [text("tick", f"{100 * tick:.0f}%", (x(tick), bottom + 20), anchor="middle") for tick in ticks]
    for number, (own, (low, high)) in enumerate(zip(sets, bars, strict=True), 1):
        y = TOP + STRIP * (number - 0.5)
        inside = [
            f'<rect class="noise" x="{x(low):.1f}" y="{y - 9:.1f}" width="{x(high) - x(low):.1f}" height="18" rx="3"/>',
            *(f'<circle class="order" cx="{x(value):.1f}" cy="{y:.1f}" r="4.5"/>' for value in own.accuracies),
            line("mean", (x(own.mean), y - 12), (x(own.mean), y + 12)),
            text("name", f"set {number}", (left - 18, y + 4), anchor="end"),
            text("value", f"±{100 * own.standard_deviation:.1f}", (width - 6, y + 4), anchor="end"),
        ]
        body.append(f"<g><title>{escape(_spoken_set(number, own))}</title>{''.join(inside)}</g>")
    description = "Accuracy of every order of each set. " + "; ".join(
        _spoken_set(number, own) for number, own in enumerate(sets, 1)
    )
    return svg("Accuracy over orders", description, (width, bottom + 34), body)


def _spoken_set(number: int, own: SetStability) -> str:
    return (
        f"set {number}: {len(own.orders)} orders from {100 * own.lowest:.1f} to {100 * own.highest:.1f}, mean "
        f"{100 * own.mean:.1f}, standard deviation {100 * own.standard_deviation:.1f} where the queries alone would "
        f"give {100 * own.noise:.1f}"
    )
