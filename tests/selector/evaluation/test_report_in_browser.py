"""Tests of the report in a headless browser: what a reader sees, does, and never has to do without a network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from selector.evaluation.compare import Comparison
from selector.evaluation.report import write_report
from selector.evaluation.samples import first_runs
from selector.evaluation.stability import stability_report
from selector.types import Example, Selection

DESKTOP, PHONE = 1280, 390  # pixels
# What sticks out of the page, and labels that stick out of their drawing.
STICKING_OUT = """() => {
  const wide = document.documentElement.clientWidth;
  const scrolled = (own) => own.closest(".scroll") || own.closest("svg") || own.closest(".skip");
  const boxes = [...document.body.querySelectorAll("*")].filter((own) => !scrolled(own) && own.checkVisibility());
  const beyond = boxes.filter((own) => own.getBoundingClientRect().right > wide + 0.5);
  const out = beyond.map((own) => own.outerHTML.slice(0, 80));
  for (const svg of document.querySelectorAll("svg")) {
    if (!svg.checkVisibility()) continue;
    const frame = svg.viewBox.baseVal;
    for (const label of svg.querySelectorAll("text")) {
      const box = label.getBBox();
      const low = Math.min(box.x, box.y, frame.width - box.x - box.width, frame.height - box.y - box.height);
      if (low < -0.5)
        out.push(`${svg.getAttribute("aria-label")}: ${label.textContent}`);
    }
  }
  if (document.documentElement.scrollWidth > wide) out.push(`the page scrolls ${document.documentElement.scrollWidth}`);
  return out;
}"""


@dataclass(frozen=True)
class Report:
    """A report and what it was made of."""

    path: Path
    comparisons: list[Comparison]
    queries: list[Example]


@pytest.fixture(scope="module")
def report(planted_comparisons, tmp_path_factory: pytest.TempPathFactory) -> Report:
    """Thirteen methods, three numbers of shots, orders of three sets."""
    comparisons, pool, queries = planted_comparisons((1, 2, 4), count=30)
    rng = np.random.default_rng(0)
    orders = [[Selection.of(*rng.permutation(4).tolist()) for _ in range(6)] for _ in range(3)]
    context = {"task": "planted", "lm": "guessing", "command": "shotsmith compare " + "--methods a,b,c " * 20}
    path = write_report(
        tmp_path_factory.mktemp("report") / "report.html",
        comparisons,
        pool=pool,
        queries=queries,
        context=context,
        stability=stability_report(orders, [rng.random((6, 30)) < 0.6 for _ in orders]),
    )
    return Report(path, comparisons, queries)


@pytest.fixture
def opened(browser) -> Iterator[Callable[..., Any]]:
    """Opens a file; afterwards nothing may have been complained about or asked for."""
    contexts, seen, asked = [], [], []

    def open_file(path: Path, *, width: int = DESKTOP, **settings: Any) -> Any:
        context = browser.new_context(viewport={"width": width, "height": 900}, offline=True, **settings)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("console", lambda message: seen.append(message.text))
        page.on("pageerror", lambda error: seen.append(str(error)))
        page.on("dialog", lambda dialog: (seen.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(path.as_uri())
        return page

    yield open_file
    for context in contexts:
        context.close()
    assert seen == []
    assert len(asked) == len(contexts)
    assert all(url.startswith("file:") for url in asked)


def methods_of_opened_query(page: Any) -> list[str]:
    """Waits for the answers of the query just opened: a browser tells `toggle` after the click has returned."""
    page.locator("#queries article h3").first.wait_for()
    return page.locator("#queries article h3").all_inner_texts()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [DESKTOP, PHONE])
def test_nothing_sticks_out(report: Report, opened, width: int, scheme: str) -> None:
    """Guards against a page that scrolls sideways on a phone, names cut off by a chart, and white pages at night."""
    page = opened(report.path, width=width, color_scheme=scheme)
    page.locator("#queries summary").first.click()
    assert methods_of_opened_query(page)
    page.locator("details.plain summary").click()
    assert page.evaluate(STICKING_OUT) == []
    assert page.locator("svg[role=img]:visible").count() == 4
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    channels = [int(part) for part in ground.removeprefix("rgb(").removesuffix(")").split(",")]
    assert (max(channels) < 64) == (scheme == "dark")


@pytest.mark.parametrize("width", [DESKTOP, PHONE])
def test_it_reads_without_scripts(report: Report, opened, width: int) -> None:
    """Guards against an empty page where scripts are forbidden: a mail, or a viewer of build artefacts."""
    page = opened(report.path, width=width, java_script_enabled=False)
    assert page.locator(".verdict h2:visible").count() == 3
    assert page.locator("table:visible").count() == 3
    assert page.get_by_text("per_query.csv holds them all").is_visible()
    assert page.locator(".scripted-only:visible").count() == 0


def test_hostile_text_is_shown_and_not_run(comparison, hostile_engine, hostile_queries, opened, tmp_path: Path) -> None:
    """Guards against a review that runs as a script in the reader's browser."""
    path = write_report(
        tmp_path / "report.html", [comparison], pool=hostile_engine.pool, queries=hostile_queries, context={}
    )
    page = opened(path)
    page.locator("#queries summary").first.click()
    assert "<script>alert('gotcha')</script>" in page.locator("#queries details").first.inner_text()
    assert "<script>alert('gotcha')</script>" in page.locator("#queries li").first.inner_text()
    assert page.locator("#queries img, #queries script").count() == 0


def test_shots_are_chosen_by_keyboard(report: Report, opened) -> None:
    """Guards against parts of the page that go on showing another number of shots."""
    page = opened(report.path)
    assert (
        page.locator("[data-shots]:visible").evaluate_all("own => own.map((part) => part.dataset.shots)") == ["4"] * 4
    )
    page.get_by_role("radio", name="4").focus()
    page.keyboard.press("ArrowLeft")
    assert page.get_by_role("radio", name="2").is_checked()
    assert (
        page.locator("[data-shots]:visible").evaluate_all("own => own.map((part) => part.dataset.shots)") == ["2"] * 4
    )
    chosen = report.comparisons[1]
    assert page.locator(".verdict h2:visible").inner_text() == f"Use {chosen.verdict.recommended}"
    page.locator("#queries summary").first.click()
    names = methods_of_opened_query(page)
    assert names == [entry.method for entry in chosen.summary]
    shown = first_runs(chosen)["nearest"].outcomes[0].demonstrations
    card = page.locator("#queries article").nth(names.index("nearest"))
    assert [text.split(" report ")[1].split()[0] for text in card.locator("li").all_inner_texts()] == [
        uid.removeprefix("archive-") for uid in shown
    ]


def test_lines_are_brought_out(report: Report, opened) -> None:
    """Guards against buttons that do nothing, and lines that stay faded."""
    page = opened(report.path)
    names = page.locator(".legend button").all_inner_texts()
    out = "own => own.filter((line) => line.classList.contains('out')).map((line) => line.dataset.series)"
    lines = page.locator("svg .series:visible")
    assert lines.count() == len(names) == 13
    button = page.get_by_role("button", name="nearest")
    button.focus()
    page.keyboard.press("Enter")
    assert button.get_attribute("aria-pressed") == "true"
    assert lines.evaluate_all(out) == [str(names.index("nearest"))]
    assert page.locator("svg .series.faded:visible").count() == 12
    page.keyboard.press("Enter")
    assert page.locator("svg .series.faded").count() == 0


def test_queries_are_filtered(report: Report, opened) -> None:
    """Guards against filters that hide what they should show; counted here without the page."""
    page = opened(report.path)
    runs = first_runs(report.comparisons[-1])
    answers = list(zip(*(row.outcomes for row in runs.values()), strict=True))
    expected = {
        ("all", ""): len(answers),
        ("differ", ""): sum(len({own.predicted for own in row}) > 1 for row in answers),
        ("wrong", ""): sum(not any(own.correct for own in row) for row in answers),
        ("wrong", "nearest"): sum(not own.correct for own in runs["nearest"].outcomes),
    }
    assert 0 < expected["wrong", "nearest"] < len(answers)
    for (shown, method), count in expected.items():
        page.get_by_label("Show").select_option(shown)
        page.locator("#query-method").select_option(label=method or "all methods")
        assert page.get_by_role("status").inner_text().startswith(f"{count} of {len(answers)} queries")
    page.get_by_label("Show").select_option("all")
    page.locator("#query-method").select_option(label="nearest")
    page.get_by_label("Containing").fill("REPORT 7 tells")
    assert page.locator("#queries details").count() == 1
    page.locator("#queries summary").focus()
    page.keyboard.press("Enter")
    assert methods_of_opened_query(page) == ["nearest"]
    page.get_by_label("Containing").fill("no such query")
    assert page.get_by_role("status").inner_text() == f"0 of {len(answers)} queries"


def test_more_queries_follow(report: Report, opened) -> None:
    """Guards against queries that cannot be reached, and a focus that jumps to the top."""
    page = opened(report.path)
    assert page.locator("#queries details").count() == 20
    page.get_by_role("button", name="Show more").click()
    assert page.locator("#queries details").count() == 30
    assert page.get_by_role("button", name="Show more").is_hidden()
    assert page.evaluate("document.activeElement.innerText").startswith("today's report 20 ")


def test_the_matrix_counts(report: Report, opened) -> None:
    """Guards against a transposed matrix, one of another method, and a recall of columns."""
    page = opened(report.path)
    comparison = report.comparisons[-1]
    assert page.locator("#confusion-method option:checked").text_content() == comparison.verdict.recommended
    page.locator("#confusion-method").select_option(label="random")
    counts: Counter[tuple[str, str]] = Counter()
    for row in comparison.rows:
        if row.method == "random":
            counts.update((own.gold, own.predicted) for own in row.outcomes)
    labels = page.locator("#confusion tbody th").all_inner_texts()
    assert labels == ["world", "sports", "business", "science", "health"]
    for gold, line in zip(labels, page.locator("#confusion tbody tr").all(), strict=True):
        *cells, recall = line.locator("td").all_inner_texts()
        assert [0 if cell == "·" else int(cell) for cell in cells] == [counts[gold, answer] for answer in labels]
        total = sum(counts[gold, answer] for answer in labels)
        assert float(recall) == pytest.approx(100 * counts[gold, gold] / total, abs=0.05)


@pytest.mark.parametrize("width", [DESKTOP, PHONE])
def test_many_labels_are_pooled_or_scrolled(planted_comparisons, opened, tmp_path: Path, width: int) -> None:
    """Guards against a matrix of 77 labels that nobody can read, or that pushes the page aside."""
    labels = [f"an intent with the number {number}" for number in range(77)]
    comparisons, pool, queries = planted_comparisons((1,), labels=labels, count=90)
    path = write_report(tmp_path / "report.html", comparisons, pool=pool, queries=queries, context={})
    page = opened(path, width=width)
    cells = page.locator("#confusion tbody td:not(.recall)")
    total = "own => own.reduce((sum, cell) => sum + (Number(cell.textContent) || 0), 0)"
    assert page.locator("#confusion tbody th").last.inner_text() == "57 others"
    assert cells.count() == 21 * 21
    assert cells.evaluate_all(total) == 90
    page.get_by_label("all 77 labels").check()
    assert cells.count() == 77 * 77
    assert cells.evaluate_all(total) == 90
    assert page.evaluate(STICKING_OUT) == []
