"""Tests of charts."""

import math
import re
from itertools import pairwise
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selector.evaluation.charts import accuracy_chart, cost_chart
from selector.evaluation.compare import Summary
from selector.evaluation.layout import Box, percent_ticks, place_labels, shortened, spaced, text_width, token_ticks
from selector.evaluation.statistics import Interval, PairedDifference

few = settings(max_examples=60, deadline=None)
share = st.floats(0, 1)
NUMBER = re.compile(r"NaN|nan|inf")


def _entry(name: str, mean: float, tokens: float, *, low: float | None = None, high: float | None = None) -> Summary:
    interval = Interval(mean, mean if low is None else low, mean if high is None else high)
    return Summary(name, tokens > 0, interval, PairedDifference(0.0, 0.0, 0.0, 1.0), tokens, 1.0)


@few
@given(share, share, st.integers(3, 9))
def test_percent_ticks_enclose(one: float, other: float, most: int) -> None:
    """Guards against dots outside the axis, and an axis of no length when all methods score the same."""
    low, high = sorted((one, other))
    ticks = percent_ticks(low, high, most=most)
    assert ticks[0] <= low + 1e-8
    assert ticks[-1] >= high - 1e-8
    assert 2 <= len(ticks) <= most
    assert all(-0.5 <= tick <= 1.5 for tick in ticks)


@few
@given(st.floats(-1, 9), st.floats(0.75, 6), st.integers(3, 8))
def test_token_ticks_are_round_and_inside(low: float, length: float, most: int) -> None:
    """Guards against an axis without numbers, or with so many that they cover one another."""
    ticks = token_ticks(low, low + length, most=most)
    assert 1 <= len(ticks) <= most
    assert all(low <= math.log10(tick) <= low + length for tick in ticks)


@few
@given(
    st.lists(st.tuples(st.sampled_from([60.0, 61.0, 200.0, 310.0]), st.integers(10, 290)), min_size=1, max_size=18),
    st.data(),
)
def test_labels_cover_neither_dots_nor_one_another(dots, data) -> None:
    """Guards against unreadable clusters: most methods cost the same, so their dots stand above one another."""
    widths = data.draw(st.lists(st.integers(10, 120), min_size=len(dots), max_size=len(dots)))
    frame = Box(48, 0, 340, 300)
    boxes = [box for box in place_labels(dots, widths, frame) if box is not None]
    assert all(box.within(frame) for box in boxes)
    for at, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:at])
        assert not any(box.left < x < box.right and box.top < y < box.bottom for x, y in dots)


def test_ten_equal_methods_are_all_named() -> None:
    """Guards against labels given up although there is room."""
    boxes = place_labels([(200.0, 150.0)] * 10, [60.0] * 10, Box(48, 0, 720, 300))
    assert all(box is not None for box in boxes)


def test_no_room_is_no_label() -> None:
    """Guards against an endless search for a place."""
    assert place_labels([(5.0, 5.0)], [500.0], Box(0, 0, 10, 10)) == [None]


def test_long_names_are_cut_to_their_room() -> None:
    """Guards against names that run out of the drawing; wide characters count as wide."""
    assert shortened("nearest", 200) == "nearest"
    cut = shortened("選択" * 30, 100)
    assert cut.endswith("…")
    assert text_width(cut) <= 100
    assert shortened("anything", 0) == "…"


@pytest.mark.parametrize("width", [340, 720])
@pytest.mark.parametrize(
    "summary",
    [
        [_entry("only", 1.0, 5000)],
        [_entry("none right", 0.0, 0)],
        [_entry("same", 0.5, 100), _entry("same too", 0.5, 100)],
        [_entry("a<b>&\"'", 0.7, 1e9, low=0.6, high=0.8), _entry("free", 0.4, 0, low=0.3, high=0.5)],
        [_entry("a method with a name that is far too long for a gutter" * 2, 0.2, 1), _entry("b", 0.9, 1e6)],
        [_entry(f"method-{number}", number / 40, 1000 + number) for number in range(40)],
    ],
)
def test_charts_are_well_formed_and_inside_their_frame(summary: list[Summary], width: int) -> None:
    """Guards against division by zero on equal scores, names that break the markup, and dots out of sight."""
    for chart in (accuracy_chart, cost_chart):
        text = chart(summary, width=width)
        root = ET.fromstring(text)
        assert (
            NUMBER.search(" ".join(element.get(key, "") for element in root.iter() for key in ("x", "y", "cx", "cy")))
            is None
        )
        assert root.get("role") == "img"
        assert all(entry.method in root.find("desc").text for entry in summary)
        _, _, right, bottom = map(float, root.get("viewBox", "").split())
        circles = [(float(dot.get("cx")), float(dot.get("cy"))) for dot in root.iter("circle")]
        assert len(circles) == len(summary)
        assert all(0 < x < right and 0 < y < bottom for x, y in circles)


def test_better_stands_further_right_and_dearer_too() -> None:
    """Guards against a mirrored axis."""
    summary = [_entry("good", 0.9, 10_000), _entry("bad", 0.3, 1_000)]
    for chart in (accuracy_chart, cost_chart):
        good, bad = list(ET.fromstring(chart(summary)).iter("circle"))
        assert float(good.get("cx")) > float(bad.get("cx"))
        assert float(good.get("cy")) < float(bad.get("cy"))


def test_upper_bounds_stand_apart_and_set_no_mark() -> None:
    """Guards against steps of "the best accuracy to be had" that lead to the oracle."""
    summary = [_entry("oracle", 0.99, 2_000), _entry("good", 0.7, 1_000)]
    plain, marked = cost_chart(summary), cost_chart(summary, bounds=("oracle",))
    assert [group.get("class") for group in ET.fromstring(marked).iter("g")] == ["bound", "lm"]
    assert [len(ET.fromstring(chart).find("path").get("d").split("V")) for chart in (plain, marked)] == [2, 1]


def test_the_recommended_name_is_bold_and_fits() -> None:
    """Guards against a bold name that runs out of the drawing because it is wider than was thought."""
    summary = [_entry("recommended-name", 0.9, 10), _entry("other", 0.5, 10)]
    for chart in (accuracy_chart, cost_chart):
        names = ET.fromstring(chart(summary, recommended="recommended-name")).iter("text")
        bold = [own.text for own in names if own.get("class") == "name strong"]
        assert bold == ["recommended-name"]

    def gutter(name: str) -> float:
        return float(next(ET.fromstring(accuracy_chart(summary, recommended=name)).iter("line")).get("x1"))

    assert gutter("recommended-name") > gutter("other")


@few
@given(st.lists(st.floats(0, 300), min_size=1, max_size=30), st.floats(1, 40))
def test_spaced_places_keep_order_and_distance(places: list[float], gap: float) -> None:
    """Guards against labels that leave the line, swap, or stand nearer than there is room for."""
    moved = spaced(places, gap=gap, low=0, high=300)
    assert all(-1e-6 <= place <= 300 + 1e-6 for place in moved)
    order = sorted(range(len(places)), key=lambda number: places[number])
    apart = [moved[after] - moved[before] for before, after in pairwise(order)]
    assert all(own >= min(gap, 300 / (len(places) - 1)) - 1e-6 for own in apart)
    if all(places[after] - places[before] >= gap for before, after in pairwise(order)):
        assert moved == pytest.approx(places)
