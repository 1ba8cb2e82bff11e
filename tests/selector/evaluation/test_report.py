"""Tests of report."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from selector.evaluation.compare import Comparison
from selector.evaluation.report import SHOWN_QUERIES, spread, write_report

CONTEXT = {"task": "<i>toy</i> $verdict", "lm": "toy", "command": 'shotsmith compare --methods "a&b"'}
VOID = {"meta", "line", "circle", "img", "br", "input", "link"}


class _Page(HTMLParser):
    """Collects tags, attributes and text, and sees that tags are closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag, attrs) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data) -> None:
        self.text += data


@pytest.fixture
def page(comparison: Comparison, hostile_engine, hostile_queries, tmp_path: Path) -> _Page:
    path = write_report(
        tmp_path / "report.html", comparison, pool=hostile_engine.pool, queries=hostile_queries, context=CONTEXT
    )
    parsed = _Page()
    parsed.feed(path.read_text(encoding="utf-8"))
    parsed.close()
    assert parsed.open == []
    return parsed


def test_hostile_text_stays_text(page: _Page) -> None:
    """Guards against a review, name or uid that becomes markup, or is filled in as a placeholder of the page."""
    tags = {tag for tag, _ in page.tags}
    assert not tags & {"script", "img", "i", "iframe", "object", "link"}
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert "<script>alert('gotcha')</script> $title {text}" in page.text
    assert "<i>toy</i> $verdict" in page.text
    assert "[bold]<b>gold" in page.text


def test_page_needs_nothing_from_outside(page: _Page) -> None:
    """Guards against a report that is blank offline or tells a server that it was opened."""
    assert not [attributes for _, attributes in page.tags if "href" in attributes or "src" in attributes]
    assert not re.search(r"@import|url\(", page.text)
    policy = [attributes for tag, attributes in page.tags if attributes.get("http-equiv") == "Content-Security-Policy"]
    assert policy[0]["content"].startswith("default-src 'none'")


def test_page_is_accessible_and_adapts(page: _Page) -> None:
    """Guards against charts without words, a phone showing a shrunken desktop, and white pages at night."""
    charts = [attributes for tag, attributes in page.tags if tag == "svg"]
    assert len(charts) == 4
    assert all(attributes["role"] == "img" and attributes["aria-label"] for attributes in charts)
    assert "prefers-color-scheme: dark" in page.text
    assert ("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}) in page.tags
    assert dict(page.tags[0][1])["lang"] == "en"


def test_samples_show_demonstrations_in_prompt_order(page: _Page, comparison: Comparison, hostile_engine) -> None:
    """Guards against a report whose order is not the prompt's."""
    assert [tag for tag, _ in page.tags].count("details") == SHOWN_QUERIES
    first = page.text[page.text.index("random answers") :]
    places = [
        first.index(example.fields["text"])
        for uid in comparison.rows[0].outcomes[0].demonstrations
        for example in hostile_engine.pool
        if example.uid == uid
    ]
    assert places == sorted(places)
    assert len(places) == 2


def test_samples_are_spread() -> None:
    """Guards against a sample of one label where the file is sorted by label."""
    assert spread(100, 4) == [0, 25, 50, 75]
    assert spread(3, 24) == [0, 1, 2]
    assert spread(0, 24) == []


def test_rows_left_out_are_told(comparison: Comparison, hostile_engine, hostile_queries, tmp_path: Path) -> None:
    """Guards the report against silence about rows that the splits were not given."""

    def text(**leaks: int) -> str:
        context = CONTEXT | {"leaks": leaks}
        arguments = {"pool": hostile_engine.pool, "queries": hostile_queries, "context": context}
        return write_report(tmp_path / "report.html", comparison, **arguments).read_text(encoding="utf-8")

    told = text(test_duplicates=1, dev=2, train=4, reward=0, near_duplicates=3)
    assert "<dt>rows left out</dt><dd>7 that repeat another split or an earlier row; 3 for nearly the same text" in told
    assert "nearly" not in text(test_duplicates=0, dev=0, train=1, reward=0, near_duplicates=0)
    assert "rows left out" not in text(test_duplicates=0, dev=0, train=0, reward=0, near_duplicates=0)
