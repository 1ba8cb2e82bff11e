"""Where things stand in a chart: ticks on axes, and labels that cover neither dots nor one another. Plain geometry."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple
from unicodedata import east_asian_width

RADIUS = 5
BOLD = 1.14  # how much wider than other text
_NARROW, _WIDE = frozenset("fijlrtI.,:;|!'()[]/ -"), frozenset("mwMW@%")
GAP, LINE = 10, 15  # from a dot to its label, and from one label line to the next, pixels


class Box(NamedTuple):
    """A rectangle, pixels; y grows downwards."""

    left: float
    top: float
    right: float
    bottom: float

    def overlaps(self, other: Box) -> bool:
        """Says whether two rectangles share more than an edge.

        Args:
            other: The other rectangle.

        Returns:
            Whether they do.
        """
        return (
            self.left < other.right and other.left < self.right and self.top < other.bottom and other.top < self.bottom
        )

    def within(self, other: Box) -> bool:
        """Says whether it lies inside another.

        Args:
            other: The other rectangle.

        Returns:
            Whether it does.
        """
        return (
            self.left >= other.left
            and self.right <= other.right
            and self.top >= other.top
            and self.bottom <= other.bottom
        )


def place_labels(dots: Sequence[tuple[float, float]], widths: Sequence[float], frame: Box) -> list[Box | None]:
    """Finds a place for the label of each dot, clear of the other labels and of all dots.

    Args:
        dots: Centre of each dot, pixels.
        widths: Width of each label, pixels.
        frame: What the labels must stay in.

    Returns:
        A box for each label, as near to its dot as is free; None where there is no room at all.
    """
    taken = [Box(x - RADIUS - 1, y - RADIUS - 1, x + RADIUS + 1, y + RADIUS + 1) for x, y in dots]
    placed: list[Box | None] = [None] * len(dots)
    count = int(2 * (frame.bottom - frame.top) / LINE) + 1
    steps = [sign * LINE * step / 2 for step in range(count) for sign in (1, -1)]
    for at in sorted(range(len(dots)), key=lambda number: dots[number][1]):
        x, y = dots[at]
        for step in steps:
            top = y - LINE / 2 + step
            sides = [Box(x + GAP, top, x + GAP + widths[at], top + LINE)]
            sides.append(Box(x - GAP - widths[at], top, x - GAP, top + LINE))
            free = [box for box in sides if box.within(frame) and not any(map(box.overlaps, taken))]
            if free:
                placed[at] = free[0]
                taken.append(free[0])
                break
    return placed


def spaced(places: Sequence[float], *, gap: float, low: float, high: float) -> list[float]:
    """Moves places on a line apart, as little as that takes, and keeps their order.

    Args:
        places: Where each would like to stand.
        gap: How far apart two are at least; less where there is no room for it.
        low: Where the line begins.
        high: Where it ends.

    Returns:
        A place for each, within the line.
    """
    order = sorted(range(len(places)), key=lambda number: places[number])
    gap = min(gap, (high - low) / max(1, len(places) - 1))
    moved: list[float] = []
    for at, number in enumerate(order):
        # Room is kept for those that follow.
        latest = high - gap * (len(order) - 1 - at)
        earliest = low + gap * at if not moved else moved[-1] + gap
        moved.append(max(earliest, min(places[number], latest)))
    result = [0.0] * len(places)
    for number, place in zip(order, moved, strict=True):
        result[number] = place
    return result


def percent_ticks(low: float, high: float, *, most: int) -> list[float]:
    """Chooses round shares that enclose two.

    Args:
        low: The lower one, 0 to 1.
        high: The higher one.
        most: How many ticks at most, 3 or more.

    Returns:
        At least two evenly spaced shares, the first at most `low` and the last at least `high`.
    """
    for step in (1, 2, 5, 10, 20, 50):
        # Rounded first: 100 * 0.07 is 7.000000000000001.
        first, last = math.floor(round(100 * low, 6) / step) * step, math.ceil(round(100 * high, 6) / step) * step
        if first == last:
            first, last = (first - step, last) if last >= 100 else (first, last + step)
        if (last - first) // step < most:
            break
    return [percent / 100 for percent in range(first, last + 1, step)]


def token_ticks(low: float, high: float, *, most: int) -> list[float]:
    """Chooses round numbers for a logarithmic axis.

    Args:
        low: Its start, decimal logarithm.
        high: Its end.
        most: How many ticks at most, where that leaves one.

    Returns:
        Numbers of the form 1, 2 or 5 times a power of ten inside the axis.
    """
    powers = range(math.floor(low), math.ceil(high) + 1)
    for factors, every in (((1, 2, 5), 1), ((1, 3), 1), ((1,), 1), ((1,), 2), ((1,), 3)):
        ticks = [factor * 10.0**power for power in powers if power % every == 0 for factor in factors]
        ticks = [tick for tick in ticks if low <= math.log10(tick) <= high]
        if len(ticks) <= most:
            break
    return ticks


def text_width(text: str) -> float:
    """Estimates the width of a label at 13 pixels.

    Args:
        text: The label.

    Returns:
        Pixels, rather too many than too few.
    """
    return sum(_character_width(character) for character in text)


def _character_width(character: str) -> float:
    """Of DejaVu Sans, the widest of the fonts that systems show pages in."""
    if east_asian_width(character) in "WF":
        return 13.5
    if character in _NARROW:
        return 5.4
    return 12.8 if character in _WIDE else 9.2 if character.isupper() else 8.3


def shortened(text: str, room: float) -> str:
    """Cuts a label that does not fit.

    Args:
        text: The label.
        room: Pixels.

    Returns:
        The label, with an ellipsis where it was cut.
    """
    if text_width(text) <= room:
        return text
    kept = text
    while kept and text_width(kept + "…") > room:
        kept = kept[:-1]
    return kept + "…"
