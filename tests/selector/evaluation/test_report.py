"""Tests of report: what the file holds before a browser reads it."""

import hashlib
import json
import re
from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from selector.errors import UsageError
from selector.evaluation.compare import Comparison
from selector.evaluation.report import write_report
from selector.evaluation.stability import stability_report
from selector.types import Selection

CONTEXT = {"task": "<i>toy</i> $verdict", "lm": "toy", "command": 'shotsmith compare --methods "a&b"'}
VOID = {"meta", "line", "circle", "rect", "path", "polyline", "img", "br", "input", "link"}


class _Page(HTMLParser):
    """Collects tags, attributes, text and scripts, and sees that tags are closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.scripts: list[str] = []

    def handle_starttag(self, tag, attrs) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts.append(data)
        else:
            self.text += data

    @property
    def data(self) -> dict[str, Any]:
        return json.loads(self.scripts[0])


def parsed(path: Path) -> _Page:
    page = _Page()
    page.feed(path.read_text(encoding="utf-8"))
    page.close()
    assert page.open == []
    return page


@pytest.fixture
def written(hostile_engine, hostile_queries, tmp_path: Path) -> Callable[..., _Page]:
    def write(comparisons: Sequence[Comparison], **changes: Any) -> _Page:
        arguments = {"pool": hostile_engine.pool, "queries": hostile_queries, "context": CONTEXT} | changes
        return parsed(write_report(tmp_path / "report.html", comparisons, **arguments))

    return write


@pytest.fixture
def page(comparison: Comparison, written: Callable[..., _Page]) -> _Page:
    """Three numbers of shots, given in disorder, and orders of two sets."""
    orders = [[Selection.of(0, 1), Selection.of(1, 0)]] * 2
    right = [np.array([[True, False, True], [True, True, True]])] * 2
    comparisons = [replace(comparison, shots=shots) for shots in (4, 1, 2)]
    return written(comparisons, stability=stability_report(orders, right))


def test_hostile_text_stays_text(page: _Page) -> None:
    """Guards against a review, name or uid that becomes markup, or is filled in as a placeholder of the page."""
    tags = [tag for tag, _ in page.tags]
    assert not set(tags) & {"img", "i", "iframe", "object", "link"}
    assert tags.count("script") == 2
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert "<i>toy</i> $verdict" in page.text
    assert "[bold]<b>gold" in page.text
    assert "<" not in page.scripts[0]
    texts = [text for _, text in page.data["demonstrations"] + page.data["queries"]]
    assert all("<script>alert('gotcha')</script> $title {text}" in text for text in texts)


def test_page_needs_nothing_from_outside_and_runs_nothing_but_its_own_script(page: _Page) -> None:
    """Guards against a report that is blank offline, tells a server that it was opened, or runs a smuggled script."""
    outside = [attributes for _, attributes in page.tags if "src" in attributes or "href" in attributes]
    assert outside == [{"class": "skip", "href": "#results"}]
    assert not re.search(r"@import|url\(", page.text)
    policies = [
        attributes for tag, attributes in page.tags if attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    digest = b64encode(hashlib.sha256(page.scripts[1].encode()).digest()).decode()
    own = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    assert [attributes["content"] for attributes in policies] == [own]


def test_page_is_accessible_and_adapts(page: _Page) -> None:
    """Guards against charts without words, a phone showing a shrunken desktop, and white pages at night."""
    charts = [attributes for tag, attributes in page.tags if tag == "svg" and attributes.get("aria-hidden") != "true"]
    assert len(charts) == 2 * (1 + 3 + 3 + 1)  # curve, accuracy and cost for each number of shots, orders
    assert all(attributes["role"] == "img" and attributes["aria-label"] for attributes in charts)
    assert [tag for tag, _ in page.tags].count("desc") == len(charts)
    assert "prefers-color-scheme: dark" in page.text
    assert ("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}) in page.tags
    assert dict(page.tags[0][1])["lang"] == "en"


def test_most_shots_come_first_to_the_eye(page: _Page) -> None:
    """Guards against numbers of shots in the order in which they happened to finish."""
    choices = [attributes for tag, attributes in page.tags if attributes.get("name") == "shots"]
    assert [choice["value"] for choice in choices] == ["1", "2", "4"]
    assert ["checked" in choice for choice in choices] == [False, False, True]
    assert list(page.data["runs"]) == ["1", "2", "4"]


def test_one_number_of_shots_has_no_curve_and_no_choice(comparison: Comparison, written: Callable[..., _Page]) -> None:
    """Guards against a curve of single points, and a heading for an order that nobody measured."""
    page = written([comparison])
    assert "More shots" not in page.text
    assert "order of demonstrations matter" not in page.text
    assert not [attributes for _, attributes in page.tags if attributes.get("name") == "shots"]
    assert not [attributes for _, attributes in page.tags if "data-shots" in attributes]


def test_numbers_of_shots_are_told_apart(comparison: Comparison, written: Callable[..., _Page]) -> None:
    """Guards against two comparisons of one number, of which the page could show one, and against an empty report."""
    for comparisons in ([], [comparison, comparison]):
        with pytest.raises(UsageError, match="one comparison for each number of shots"):
            written(comparisons)


def test_rows_left_out_are_told(comparison: Comparison, written: Callable[..., _Page]) -> None:
    """Guards the report against silence about rows that the splits were not given."""

    def text(**leaks: int) -> str:
        return written([comparison], context=CONTEXT | {"leaks": leaks}).text

    told = text(test_duplicates=1, dev=2, train=4, reward=0, near_duplicates=3)
    assert "rows left out7 that repeat another split or an earlier row; 3 for nearly the same text" in told
    assert "nearly" not in text(test_duplicates=0, dev=0, train=1, reward=0, near_duplicates=0)
    assert "rows left out" not in text(test_duplicates=0, dev=0, train=0, reward=0)


def test_free_text_has_no_confusions(comparison: Comparison, written: Callable[..., _Page]) -> None:
    """Guards against a matrix with a row for each answer that was ever written."""
    rows = [
        replace(row, outcomes=tuple(replace(own, free_text=True) for own in row.outcomes)) for row in comparison.rows
    ]
    page = written([replace(comparison, rows=tuple(rows))])
    assert "What is taken for what" not in page.text
    assert page.data["labels"] == []
    assert "What is taken for what" in written([comparison]).text


def test_colours_can_be_read() -> None:
    """Guards against grey on grey: text needs a contrast of 4.5, lines and markers one of 3 (WCAG 2.2)."""
    style = (Path(write_report.__code__.co_filename).parent / "page" / "report.css").read_text(encoding="utf-8")
    for block in re.findall(r":root \{(.*?)\}", style, flags=re.DOTALL):
        colours = dict(re.findall(r"--(\w+): (#\w+);", block))
        assert len(colours) == 17
        for name in ("text", "quiet", "strong", "lm", "free", "right", "wrong"):
            for ground in ("panel", "back", "tint"):
                assert _contrast(colours[name], colours[ground]) >= 4.5, (name, ground)
        for number in range(6):
            assert _contrast(colours[f"colour{number}"], colours["panel"]) >= 3, number


def _contrast(one: str, other: str) -> float:
    darker, lighter = sorted((_luminance(one), _luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    shares = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
