"""Tests of curves: accuracy over shots, and over the orders of fixed sets."""

import re
from dataclasses import replace
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from selector.evaluation.curves import SHOWN_SETS, method_names, order_chart, shots_chart
from selector.evaluation.drawing import COLOURS, DASHES, MARKERS, marker, style_of
from selector.evaluation.stability import StabilityReport, stability_report
from selector.types import Selection


def points(line: ET.Element) -> list[tuple[float, float]]:
    return [tuple(map(float, pair.split(","))) for pair in line.get("points", "").split()]


def series(text: str) -> dict[str, ET.Element]:
    """Name of a method to its group."""
    return {
        group.findall("text")[-1].text or "": group
        for group in ET.fromstring(text).findall("g")
        if "series" in group.get("class", "")
    }


@pytest.mark.parametrize("width", [340, 960])
def test_lines_rise_with_accuracy_and_stay_inside(planted_comparisons, width: int) -> None:
    """Guards against a mirrored axis, points of another method, and whiskers out of sight."""
    comparisons, _, _ = planted_comparisons((0, 2, 8), count=20)
    text = shots_chart(comparisons, width=width)
    right, bottom = map(float, ET.fromstring(text).get("viewBox", "").split()[2:])
    groups = list(series(text).values())
    assert len(groups) == len(method_names(comparisons)) == 13
    for name, group in zip(method_names(comparisons), groups, strict=True):
        places = points(group.find("polyline"))
        accuracies = [entry.accuracy.estimate for own in comparisons for entry in own.summary if entry.method == name]
        assert len(places) == 3
        assert [x for x, _ in places] == sorted(x for x, _ in places)
        assert (
            np.argsort([-y for _, y in places], kind="stable").tolist()
            == np.argsort(accuracies, kind="stable").tolist()
        )
        assert len(group.findall("line[@class='interval']")) == 3
        for line in group.findall("line"):
            assert all(0 <= float(line.get(key)) <= right for key in ("x1", "x2"))
            assert all(0 <= float(line.get(key)) <= bottom for key in ("y1", "y2"))


def test_labels_of_lines_do_not_cover_one_another(planted_comparisons) -> None:
    """Guards against names on top of each other where lines end alike."""
    comparisons, _, _ = planted_comparisons((0, 1), count=20)
    heights = sorted(float(group.findall("text")[-1].get("y")) for group in series(shots_chart(comparisons)).values())
    assert min(np.diff(heights)) >= 14


def test_a_method_that_was_not_always_run_keeps_its_points(planted_comparisons) -> None:
    """Guards against a line that is shifted to the left by a number of shots that was left out."""
    comparisons, _, _ = planted_comparisons((2, 8), count=20)
    entries = [entry for entry in comparisons[0].summary if entry.method != "cone"]
    whole = series(shots_chart(comparisons))["cone"]
    cut = series(shots_chart([replace(comparisons[0], summary=tuple(entries)), comparisons[1]]))["cone"]
    assert points(cut.find("polyline")) == points(whole.find("polyline"))[1:]


def test_lines_differ_without_colour() -> None:
    """Guards against lines that only colour tells apart."""
    looks = {(style_of(number), re.sub(r"[\d.]+", "", marker(number, (0, 0)))) for number in range(COLOURS * MARKERS)}
    assert len(looks) == COLOURS * MARKERS
    assert len({marker(number, (8, 8)) for number in range(MARKERS)}) == MARKERS
    assert len({style_of(COLOURS * turn) for turn in range(DASHES)}) == DASHES


def stability(sets: int, orders: int = 4, queries: int = 20) -> StabilityReport:
    rng = np.random.default_rng(0)
    tried = [[Selection.of(*rng.permutation(4).tolist()) for _ in range(orders)] for _ in range(sets)]
    return stability_report(tried, [rng.random((orders, queries)) < 0.6 for _ in range(sets)])


@pytest.mark.parametrize("width", [340, 960])
def test_every_order_is_a_dot(width: int) -> None:
    """Guards against orders that are left out, and dots beside the axis."""
    report = stability(3)
    root = ET.fromstring(order_chart(report, width=width))
    dots = [float(dot.get("cx")) for dot in root.iter("circle")]
    accuracies = [accuracy for own in report.sets for accuracy in own.accuracies]
    assert len(dots) == 12
    assert np.allclose(np.polyfit(accuracies, dots, 1, full=True)[1], 0, atol=0.1)
    assert all(60 < x < width - 50 for x in dots)
    assert root.find("desc").text.count("set ") == 3


def test_many_sets_are_cut_and_alike_ones_are_drawn() -> None:
    """Guards against a chart without end, and against an axis without length where every order is right."""
    assert order_chart(stability(SHOWN_SETS + 5)).count('class="mean"') == SHOWN_SETS
    orders = [[Selection.of(0, 1), Selection.of(1, 0)]]
    assert "nan" not in order_chart(stability_report(orders, [np.ones((2, 5), dtype=bool)]))
