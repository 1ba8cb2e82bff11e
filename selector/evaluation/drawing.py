"""Parts of charts as SVG text: the frame with its description, axes and markers. Colours come from the page's style."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from selector.evaluation.compare import Summary

TOP = 14
MARKER_RADIUS = 5  # about, pixels
COLOURS, MARKERS, DASHES = 6, 7, 4  # 6 and 7 have no common factor: 42 lines differ in colour or marker


def svg(name: str, description: str, size: tuple[float, float], body: Sequence[str]) -> str:
    """Frames a drawing.

    Args:
        name: What a screen reader calls it.
        description: What it shows, in words and numbers.
        size: Width and height, pixels.
        body: Its elements.

    Returns:
        An SVG element.
    """
    return (
        f'<svg viewBox="0 0 {size[0]:.0f} {size[1]:.0f}" role="img" aria-label="{escape(name, quote=True)}">'
        f"<desc>{escape(description)}</desc>{''.join(body)}</svg>"
    )


def scale(ends: Sequence[float], value: float, start: float, end: float) -> float:
    """Finds the place of a value on an axis.

    Args:
        ends: Ascending; the first and the last value of the axis.
        value: The value.
        start: Where the first value stands, pixels.
        end: Where the last one stands.

    Returns:
        The place, pixels.
    """
    return start + (end - start) * (value - ends[0]) / (ends[-1] - ends[0])


def line(kind: str, start: tuple[float, float], end: tuple[float, float]) -> str:
    """Draws a straight line.

    Args:
        kind: Its class in the page's style.
        start: One end, pixels.
        end: The other.

    Returns:
        An SVG element.
    """
    return f'<line class="{kind}" x1="{start[0]:.1f}" y1="{start[1]:.1f}" x2="{end[0]:.1f}" y2="{end[1]:.1f}"/>'


def text(kind: str, content: str, place: tuple[float, float], *, anchor: str = "start") -> str:
    """Writes a label.

    Args:
        kind: Its class in the page's style.
        content: What it says; escaped here.
        place: Of its baseline, pixels.
        anchor: What stands at the place: start, middle or end.

    Returns:
        An SVG element.
    """
    return (
        f'<text class="{kind}" x="{place[0]:.1f}" y="{place[1]:.1f}" text-anchor="{anchor}">'
        f"{escape(content, quote=False)}</text>"
    )


def marker(number: int, place: tuple[float, float]) -> str:
    """Draws the marker of a line; neighbours in number differ in shape.

    Args:
        number: Of the line.
        place: Its centre, pixels.

    Returns:
        An SVG element.
    """
    x, y, r = *place, MARKER_RADIUS
    arm = 0.4 * r
    shapes = [
        _circle(x, y, r),
        _closed((x - r, y - r), (x + r, y - r), (x + r, y + r), (x - r, y + r)),
        _closed((x, y - 1.2 * r), (x + 1.2 * r, y + r), (x - 1.2 * r, y + r)),
        _closed((x, y - 1.4 * r), (x + 1.4 * r, y), (x, y + 1.4 * r), (x - 1.4 * r, y)),
        _closed((x - 1.2 * r, y - r), (x + 1.2 * r, y - r), (x, y + 1.2 * r)),
        _closed(*((x + arm * a + r * b, y + arm * c + r * d) for a, b, c, d in _CROSS)),
        _circle(x, y, r - 1, kind="mark hollow"),
    ]
    return shapes[number % MARKERS]


# Corners of a plus: how many arm widths and radii each lies to the right and below the centre.
_CROSS = (
    *((-1, 0, 0, -1), (1, 0, 0, -1), (1, 0, -1, 0), (0, 1, -1, 0), (0, 1, 1, 0), (1, 0, 1, 0)),
    *((1, 0, 0, 1), (-1, 0, 0, 1), (-1, 0, 1, 0), (0, -1, 1, 0), (0, -1, -1, 0), (-1, 0, -1, 0)),
)


def _circle(x: float, y: float, radius: float, *, kind: str = "mark") -> str:
    return f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}"/>'


def _closed(*corners: tuple[float, float]) -> str:
    return f'<path class="mark" d="M{"L".join(f"{x:.1f} {y:.1f}" for x, y in corners)}Z"/>'


def style_of(number: int) -> str:
    """Names the classes that a line of a chart has in the page's style.

    Args:
        number: Of the line.

    Returns:
        Its colour and its dashes; dashes change when the colours are used up.
    """
    return f"colour{number % COLOURS} dash{number // COLOURS % DASHES}"


def spoken(entry: Summary) -> str:
    """Says how accurate a method is.

    Args:
        entry: The method.

    Returns:
        Its name, its accuracy and the interval, per cent.
    """
    own = entry.accuracy
    return f"{entry.method}: {100 * own.estimate:.1f} ({100 * own.low:.1f} to {100 * own.high:.1f})"
